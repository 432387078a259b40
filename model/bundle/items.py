"""The item table: ids and embeddings, in one safetensors file. It does not know who looks items up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from model.bundle.files import ITEMS_FILE, BundleError
from model.bundle.manifest import Manifest

UNKNOWN_ROW = 0


@dataclass(frozen=True)
class ItemTable:
    """Item ids and embeddings. `ids[r]` names row r; row 0 is the unknown item and has the empty id.

    embeddings: [N, D] float16 — histories carry float16, so offline and online read the same numbers.
    """

    ids: tuple[str, ...]
    embeddings: NDArray[np.float16]

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or self.embeddings.dtype != np.float16:
            raise ValueError("embeddings must be [N, D] float16")
        if len(self.ids) != len(self.embeddings):
            raise ValueError(f"{len(self.ids)} ids for {len(self.embeddings)} embeddings")
        if not self.ids or self.ids[UNKNOWN_ROW] != "":
            raise ValueError("row 0 must be the unknown item, with the empty id")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("item ids repeat")
        if not np.isfinite(self.embeddings).all():
            raise ValueError("embeddings must be finite")

    def fingerprint(self) -> str:
        """The embedding version: equal tables, and only those, share it. Histories are namespaced by it."""
        digest = hashlib.sha256("\0".join(self.ids).encode())
        digest.update(np.ascontiguousarray(self.embeddings).tobytes())
        return digest.hexdigest()[:12]


def read_items(directory: Path, manifest: Manifest) -> ItemTable:
    """Read `items.safetensors` and check it against the manifest. Raises BundleError."""
    try:
        arrays = load_file(directory / ITEMS_FILE)
        offsets = arrays["id_offsets"]
        text = arrays["id_bytes"].tobytes()
        ids = tuple(text[a:b].decode() for a, b in pairwise(offsets))
        table = ItemTable(ids, arrays["embeddings"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BundleError(ITEMS_FILE, f"cannot be read: {error}") from error
    if table.embeddings.shape[1] != manifest.embedding_dim:
        raise BundleError(
            ITEMS_FILE, f"is {table.embeddings.shape[1]} wide, the manifest says {manifest.embedding_dim}"
        )
    return table


def save_items(path: Path, items: ItemTable) -> None:
    encoded = [item_id.encode() for item_id in items.ids]
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in encoded])]).astype(np.int64)
    id_bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    # Not save_file: it makes the file readable by its owner alone, and the service may run as somebody else.
    path.write_bytes(save({"embeddings": items.embeddings, "id_bytes": id_bytes, "id_offsets": offsets}))
