"""Item tables survive their file, and what is not one is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.bundle import (
    ITEMS_FILE,
    MANIFEST_FILE,
    BundleError,
    ItemTable,
    read_items,
    read_manifest,
)


def test_damaged_items_are_refused(bundle: Path) -> None:
    """An item table that is not one, or of another width, is an error that names it."""
    manifest = read_manifest(bundle)
    with pytest.raises(BundleError, match="wide"):
        read_items(bundle, manifest.model_copy(update={"embedding_dim": 8}))
    (bundle / ITEMS_FILE).write_bytes(b"not safetensors")
    with pytest.raises(BundleError, match=ITEMS_FILE):
        read_items(bundle, manifest)


def test_item_table_refuses_what_is_not_one() -> None:
    """Row 0 must be the unknown item; ids are unique; embeddings are finite float16, one row an id."""
    good = np.zeros((2, 4), np.float16)
    for ids, embeddings in (
        (("a", "b"), good),
        (("", "a"), good.astype(np.float32)),
        (("",), good),
        (("", ""), good),
        (("", "a"), np.full((2, 4), np.inf, np.float16)),
    ):
        with pytest.raises(ValueError):
            ItemTable(ids, embeddings)


def test_fingerprint_follows_ids_and_embeddings(items: ItemTable) -> None:
    """Another id or another embedding is another embedding version; the same table is the same."""
    changed = items.embeddings.copy()
    changed[1, 0] += 1
    others = [ItemTable(items.ids, changed), ItemTable((*items.ids[:-1], "other"), items.embeddings)]

    assert ItemTable(items.ids, items.embeddings.copy()).fingerprint() == items.fingerprint()
    assert items.fingerprint() not in {other.fingerprint() for other in others}


def test_whoever_may_read_a_bundle_may_read_its_items(bundle: Path) -> None:
    """The table has the permissions of its neighbours: the service need not be the user who exported it."""
    assert (bundle / ITEMS_FILE).stat().st_mode == (bundle / MANIFEST_FILE).stat().st_mode
