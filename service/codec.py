"""History records ↔ bytes: the layout of one member's log, as it lies in the store.

A log is a header of 24 bytes and then records of one size, little-endian, in order of arrival:

    header   magic "RKH1" · schema u16 · record size u16 · incarnation u64 · trimmed u64
    record   item row u32 · action u16 · timestamp i64 ms · D × float16 embedding          (14 + 2D bytes)

`incarnation` is drawn at random whenever a log is begun or rewritten; `trimmed` counts the oldest records cut off.
This module does not know where the bytes are kept.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.errors import HistoryDamaged

MAGIC = b"RKH1"
SCHEMA = 1
HEADER = struct.Struct("<4sHHQQ")
PREFIX = struct.Struct("<4sHH")  # the part of the header that every log of one embedding width shares
COUNT_LIMIT = 2**53  # beyond it a Lua number (a double) would not be exact; no honest log gets there

Records = NDArray[np.void]


class HistoryVersion(NamedTuple):
    """What identifies a log's content: equal versions ⇒ equal bytes. (0, 0) is the empty history."""

    incarnation: int
    total: int


class Header(NamedTuple):
    incarnation: int
    trimmed: int


@lru_cache(maxsize=64)
def record_dtype(embedding_dim: int) -> np.dtype[np.void]:
    """The packed record of `embedding_dim` (D) float16 numbers: 14 + 2D bytes."""
    if not 1 <= embedding_dim <= (0xFFFF - 14) // 2:
        raise ValueError(f"embedding_dim {embedding_dim} does not fit a record")
    return np.dtype(
        [("item_row", "<u4"), ("action", "<u2"), ("timestamp", "<i8"), ("embedding", "<f2", (embedding_dim,))]
    )


@dataclass(frozen=True, eq=False)
class MemberHistory:
    """A stretch of one member's log, oldest first, read-only.

    total: actions ever appended. start: index of the first record among those. records: [T] of `record_dtype`.
    """

    incarnation: int
    total: int
    start: int
    records: Records

    @classmethod
    def empty(cls, embedding_dim: int) -> MemberHistory:
        """The history of a member without one: a cold start."""
        return cls(0, 0, 0, decode_records(b"", embedding_dim))

    @property
    def version(self) -> HistoryVersion:
        return HistoryVersion(self.incarnation, self.total)

    @property
    def length(self) -> int:
        return len(self.records)

    @property
    def item_rows(self) -> NDArray[np.uint32]:
        """[T] uint32 rows of the item table; 0 = unknown."""
        return self.records["item_row"]

    @property
    def actions(self) -> NDArray[np.uint16]:
        """[T] uint16 indices of the action vocabulary."""
        return self.records["action"]

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """[T] int64 milliseconds since 1970."""
        return self.records["timestamp"]

    @property
    def embeddings(self) -> NDArray[np.float16]:
        """[T, D] float16, strided: a view into the records."""
        return self.records["embedding"]


def encode_records(item_rows: ArrayLike, actions: ArrayLike, timestamps: ArrayLike, embeddings: NDArray[Any]) -> bytes:
    """item_rows [T] u32, actions [T] u16, timestamps [T] i64 ms, embeddings [T, D] float16 → T records, oldest first.

    Values that a field cannot hold are refused (ValueError), never wrapped round.
    """
    if embeddings.ndim != 2:
        raise ValueError("embeddings must be [T, D]")
    dtype = record_dtype(embeddings.shape[1])
    records = np.zeros(len(embeddings), dtype)
    for field, values in (("item_row", item_rows), ("action", actions), ("timestamp", timestamps)):
        column = np.asarray(values)
        if column.shape != records.shape:
            raise ValueError(f"{field}: shape {column.shape} for {len(records)} records")
        limits = np.iinfo(dtype[field])
        if column.size and not (limits.min <= column.min() and column.max() <= limits.max):
            raise ValueError(f"{field}: outside {limits.min}..{limits.max}")
        records[field] = column
    records["embedding"] = embeddings
    return records.tobytes()


def decode_records(data: bytes, embedding_dim: int) -> Records:
    """Bytes of whole records → read-only array [T] over the same memory. Raises HistoryDamaged."""
    dtype = record_dtype(embedding_dim)
    if len(data) % dtype.itemsize:
        raise damaged("alignment")
    return np.frombuffer(data, dtype)


def count_records(data: bytes, embedding_dim: int) -> int:
    """How many whole records `data` is. Raises ValueError: the caller built something else."""
    count, rest = divmod(len(data), record_dtype(embedding_dim).itemsize)
    if rest:
        raise ValueError(f"{len(data)} bytes are not a whole number of {embedding_dim}-wide records")
    return count


def draw_incarnation() -> int:
    """A fresh random incarnation: 64 bits, never 0, which stands for the empty history."""
    return 1 + secrets.randbelow(2**64 - 1)


def pack_prefix(embedding_dim: int) -> bytes:
    """The 8 bytes that begin every log of this embedding width."""
    return PREFIX.pack(MAGIC, SCHEMA, record_dtype(embedding_dim).itemsize)


def pack_header(embedding_dim: int, incarnation: int, trimmed: int) -> bytes:
    return HEADER.pack(MAGIC, SCHEMA, record_dtype(embedding_dim).itemsize, incarnation, trimmed)


def unpack_header(log: bytes, embedding_dim: int) -> Header:
    """Check a whole log's header and alignment. Raises HistoryDamaged; the Lua scripts check the very same."""
    if len(log) < HEADER.size:
        raise damaged("header")
    magic, schema, record_size, incarnation, trimmed = HEADER.unpack_from(log)
    if magic != MAGIC:
        raise damaged("magic")
    if schema != SCHEMA:
        raise damaged("schema")
    if record_size != record_dtype(embedding_dim).itemsize:
        raise damaged("record size")
    if (len(log) - HEADER.size) % record_size:
        raise damaged("alignment")
    if trimmed >= COUNT_LIMIT:
        raise damaged("trimmed")
    return Header(incarnation, trimmed)


def decode_log(log: bytes, embedding_dim: int) -> MemberHistory:
    """A whole stored log, header included. Raises HistoryDamaged."""
    incarnation, trimmed = unpack_header(log, embedding_dim)
    records = np.frombuffer(log, record_dtype(embedding_dim), offset=HEADER.size)
    return MemberHistory(incarnation, trimmed + len(records), trimmed, records)


def damaged(what: str) -> HistoryDamaged:
    return HistoryDamaged(f"the member's history holds foreign or damaged bytes ({what})")
