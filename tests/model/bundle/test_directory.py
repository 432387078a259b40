"""A bundle is written whole or not at all, and what differs is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.bundle import (
    GOLDEN_FILE,
    ITEMS_FILE,
    MANIFEST_FILE,
    RANKER_FILE,
    BundleError,
    ItemTable,
    read_golden,
    read_items,
    read_manifest,
    verify,
    versions,
    write_bundle,
)


def test_what_was_exported_reads_back(bundle: Path, items: ItemTable) -> None:
    """Manifest, items and golden cases survive the trip through their files."""
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    table = read_items(bundle, manifest)

    assert (manifest.name, manifest.version, manifest.surface) == ("feed", "1", "feed")
    assert manifest.embedding_version == items.fingerprint()
    assert table.ids == items.ids
    assert np.array_equal(table.embeddings, items.embeddings)
    assert [(len(case.actions), len(case.candidates)) for case in read_golden(bundle)] == [(0, 1), (1, 3), (5, 7)]


@pytest.mark.parametrize("name", [RANKER_FILE, ITEMS_FILE, GOLDEN_FILE])
def test_one_changed_byte_is_refused_by_file(bundle: Path, name: str) -> None:
    """A single flipped bit in any file is found, and the error names the file."""
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)

    with pytest.raises(BundleError, match="sha256") as refused:
        verify(bundle, read_manifest(bundle))
    assert refused.value.file == name


@pytest.mark.parametrize("name", [RANKER_FILE, ITEMS_FILE, GOLDEN_FILE])
def test_a_missing_file_is_refused_by_name(bundle: Path, name: str) -> None:
    """A half-written bundle is refused, naming what is not there."""
    (bundle / name).unlink()

    with pytest.raises(BundleError, match="missing") as refused:
        verify(bundle, read_manifest(bundle))
    assert refused.value.file == name


@pytest.mark.parametrize("name", [RANKER_FILE, ITEMS_FILE, GOLDEN_FILE])
def test_a_link_out_of_the_repository_is_refused(tmp_path: Path, bundle: Path, name: str) -> None:
    """A file, or a whole version, that lies elsewhere is not served, although its bytes are the right ones; a link that
    stays inside is fine."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "feed").mkdir(parents=True)
    bundle.rename(outside)
    (root / "feed" / "1").symlink_to(outside)
    with pytest.raises(BundleError, match="leads out"):
        verify(root / "feed" / "1", read_manifest(outside))

    inside = root / "feed" / "2"
    shutil.copytree(outside, inside)
    (root / "feed" / "3").symlink_to(inside)
    verify(root / "feed" / "3", read_manifest(inside))

    (inside / name).unlink()
    (inside / name).symlink_to(outside / name)
    with pytest.raises(BundleError, match="leads out") as refused:
        verify(inside, read_manifest(inside))
    assert refused.value.file == name


def test_an_unlisted_file_is_refused(bundle: Path) -> None:
    """A manifest without the sha256 of a file does not vouch for it."""
    with pytest.raises(BundleError, match="no sha256"):
        verify(bundle, read_manifest(bundle).model_copy(update={"files": {}}))


def test_a_version_is_never_overwritten(bundle: Path, items: ItemTable) -> None:
    """Writing to a place that exists is refused and leaves it as it was."""
    before = (bundle / MANIFEST_FILE).read_bytes()

    with pytest.raises(BundleError, match="immutable"):
        write_bundle(bundle, read_manifest(bundle), bundle / RANKER_FILE, items, [])
    assert (bundle / MANIFEST_FILE).read_bytes() == before


def test_a_failed_write_leaves_nothing(tmp_path: Path, bundle: Path, items: ItemTable) -> None:
    """When a source file cannot be read, neither the version nor a half of it exists."""
    target = tmp_path / "feed" / "2"
    with pytest.raises(FileNotFoundError):
        write_bundle(target, read_manifest(bundle), tmp_path / "absent.pt", items, [])

    assert sorted(path.name for path in target.parent.iterdir()) == ["1"]


def test_versions_are_numbers_in_order(tmp_path: Path) -> None:
    """10 comes after 9; half-written and foreign folders are not versions; no folder, no versions."""
    for name in ("9", "10", ".11.incoming", "notes"):
        (tmp_path / "feed" / name).mkdir(parents=True)

    assert versions(tmp_path, "feed") == ["9", "10"]
    assert versions(tmp_path, "ads") == []
