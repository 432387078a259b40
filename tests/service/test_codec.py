"""The log's bytes: round trips, and every kind of damage."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.codec import (
    HEADER,
    HistoryVersion,
    MemberHistory,
    count_records,
    decode_log,
    decode_records,
    draw_incarnation,
    encode_records,
    pack_header,
    record_dtype,
    unpack_header,
)
from service.errors import HistoryDamaged

sizes = st.tuples(st.integers(0, 20), st.integers(1, 9))


def some_records(count: int, dim: int = 4) -> bytes:
    rows = np.arange(count)
    return encode_records(rows, rows % 3, rows * 1000, np.ones((count, dim), np.float16))


@given(sizes, st.data())
def test_records_survive_a_round_trip(size: tuple[int, int], data: st.DataObject) -> None:
    """Whatever fits the fields, NaN's bits included, comes back as it was."""
    count, dim = size
    rows = data.draw(hnp.arrays(np.uint32, count))
    actions = data.draw(hnp.arrays(np.uint16, count))
    times = data.draw(hnp.arrays(np.int64, count))
    bits = data.draw(hnp.arrays(np.uint16, (count, dim)))
    records = decode_records(encode_records(rows, actions, times, bits.view(np.float16)), dim)
    np.testing.assert_array_equal(records["item_row"], rows)
    np.testing.assert_array_equal(records["action"], actions)
    np.testing.assert_array_equal(records["timestamp"], times)
    np.testing.assert_array_equal(np.ascontiguousarray(records["embedding"]).view(np.uint16), bits)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**53 - 1), sizes)
def test_a_log_survives_a_round_trip(incarnation: int, trimmed: int, size: tuple[int, int]) -> None:
    """Header and records of a whole log come back, with total and start counted from the trimmed ones."""
    count, dim = size
    history = decode_log(pack_header(dim, incarnation, trimmed) + some_records(count, dim), dim)
    assert history.version == HistoryVersion(incarnation, trimmed + count)
    assert (history.start, history.length) == (trimmed, count)
    assert history.records.tobytes() == some_records(count, dim)


def test_the_layout_is_the_documented_one() -> None:
    """The bytes are fixed: a store written by this version must be read by the next."""
    embedding = np.array([[1.0, -2.0]], np.float16)
    log = pack_header(2, 0x0102030405060708, 9) + encode_records([7], [3], [-5], embedding)
    assert log == struct.pack("<4sHHQQ", b"RKH1", 1, 18, 0x0102030405060708, 9) + struct.pack("<IHqee", 7, 3, -5, 1, -2)
    assert HEADER.size == 24
    assert record_dtype(64).itemsize == 14 + 2 * 64


@pytest.mark.parametrize(
    ("log", "what"),
    [
        (b"x", "header"),
        (pack_header(4, 1, 0)[:-1], "header"),
        (b"JUNK" + pack_header(4, 1, 0)[4:] + some_records(2), "magic"),
        (pack_header(4, 1, 0)[:4] + b"\x02\x00" + pack_header(4, 1, 0)[6:] + some_records(2), "schema"),
        (pack_header(5, 1, 0) + some_records(2, 5), "record size"),
        (pack_header(4, 1, 0) + some_records(2) + b"abc", "alignment"),
        (pack_header(4, 1, 2**53) + some_records(2), "trimmed"),
    ],
)
def test_damage_is_an_error_that_names_it(log: bytes, what: str) -> None:
    """Foreign, truncated or misaligned bytes are never read as records."""
    with pytest.raises(HistoryDamaged, match=what):
        unpack_header(log, 4)
    with pytest.raises(HistoryDamaged, match=what):
        decode_log(log, 4)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_never_misread(log: bytes) -> None:
    """Random bytes lack the magic: they are damage, whatever their length."""
    with pytest.raises(HistoryDamaged):
        decode_log(log, 4)


def test_half_a_record_is_damage_when_read_and_a_mistake_when_written() -> None:
    """A tail that is not a whole record is refused on both sides."""
    with pytest.raises(HistoryDamaged, match="alignment"):
        decode_records(some_records(2)[:-1], 4)
    with pytest.raises(ValueError, match="whole number"):
        count_records(some_records(2)[:-1], 4)
    assert count_records(some_records(2), 4) == 2


@pytest.mark.parametrize(
    ("rows", "actions", "times", "field"),
    [
        ([2**32], [0], [0], "item_row"),
        ([-1], [0], [0], "item_row"),
        ([0], [2**16], [0], "action"),
        ([0], [0], [2**63], "timestamp"),
        ([0, 1], [0], [0], "item_row"),
    ],
)
def test_values_that_do_not_fit_are_refused(rows: list[int], actions: list[int], times: list[int], field: str) -> None:
    """A number too large for its field is an error; it must not wrap round to another item."""
    with pytest.raises(ValueError, match=field):
        encode_records(rows, actions, times, np.zeros((1, 4), np.float16))


def test_widths_that_cannot_be_records_are_refused() -> None:
    """The record size is a u16, and an embedding has at least one number."""
    for dim in (0, -1, 40_000):
        with pytest.raises(ValueError, match="embedding_dim"):
            record_dtype(dim)
    with pytest.raises(ValueError, match=r"\[T, D\]"):
        encode_records([0], [0], [0], np.zeros(4, np.float16))


def test_the_empty_history_is_version_zero_and_read_only() -> None:
    """A cold start has version (0, 0); no log that exists can have it, and no reader can write into a log."""
    empty = MemberHistory.empty(4)
    assert empty.version == HistoryVersion(0, 0)
    assert empty.embeddings.shape == (0, 4)
    assert all(draw_incarnation() != 0 for _ in range(100))
    records = decode_records(some_records(1), 4)
    with pytest.raises(ValueError, match="read-only"):
        records["action"] = 1


def test_columns_are_views_of_the_records() -> None:
    """The columns come in the documented types, without a copy."""
    history = decode_log(pack_header(4, 1, 0) + some_records(3), 4)
    assert history.item_rows.dtype == np.uint32
    assert history.actions.dtype == np.uint16
    assert history.timestamps.dtype == np.int64
    assert history.embeddings.dtype == np.float16
    assert all(np.shares_memory(history.records, column) for column in (history.item_rows, history.embeddings))
    np.testing.assert_array_equal(history.timestamps, [0, 1000, 2000])
    np.testing.assert_array_equal(history.actions, [0, 1, 2])
