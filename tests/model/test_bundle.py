"""The artifact's contract: what is written is read, and what differs is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.bundle import (
    GOLDEN_FILE,
    ITEMS_FILE,
    MANIFEST_FILE,
    RANKER_FILE,
    BundleError,
    ItemTable,
    Manifest,
    Task,
    check_golden,
    read_golden,
    read_items,
    read_manifest,
    verify,
    versions,
    window_start,
    write_bundle,
)


@pytest.fixture
def bundle(repository: Path, tmp_path: Path) -> Path:
    """A copy of the feed bundle that a test may damage."""
    return Path(shutil.copytree(repository / "feed" / "1", tmp_path / "feed" / "1"))


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


def test_a_manifest_that_is_missing_truncated_or_from_elsewhere_is_refused(bundle: Path) -> None:
    """No manifest, half a manifest and one of another format are all refused before anything is loaded."""
    path = bundle / MANIFEST_FILE
    text = path.read_text()
    for content in (text[: len(text) // 2], text.replace('"format_version": 1', '"format_version": 2')):
        path.write_text(content)
        with pytest.raises(BundleError, match=MANIFEST_FILE):
            read_manifest(bundle)
    path.unlink()
    with pytest.raises(BundleError, match="missing"):
        read_manifest(bundle)


def test_an_unlisted_file_is_refused(bundle: Path) -> None:
    """A manifest without the sha256 of a file does not vouch for it."""
    with pytest.raises(BundleError, match="no sha256"):
        verify(bundle, read_manifest(bundle).model_copy(update={"files": {}}))


def test_damaged_items_are_refused(bundle: Path) -> None:
    """An item table that is not one, or of another width, is an error that names it."""
    manifest = read_manifest(bundle)
    with pytest.raises(BundleError, match="wide"):
        read_items(bundle, manifest.model_copy(update={"embedding_dim": 8}))
    (bundle / ITEMS_FILE).write_bytes(b"not safetensors")
    with pytest.raises(BundleError, match=ITEMS_FILE):
        read_items(bundle, manifest)


def test_damaged_golden_cases_are_refused(bundle: Path) -> None:
    """Golden cases that do not parse are an error that names them."""
    (bundle / GOLDEN_FILE).write_text('[{"embeddings": 3}]')

    with pytest.raises(BundleError, match=GOLDEN_FILE):
        read_golden(bundle)


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


def test_golden_mismatch_shape_and_nan_are_refused(bundle: Path) -> None:
    """Only logits within the tolerance pass: not slightly more, not NaN, not another shape."""
    case = read_golden(bundle)[1]
    check_golden(case, case.logits + np.float32(1e-5), 1e-4)
    for wrong in (case.logits + np.float32(1.0), np.full_like(case.logits, np.nan), case.logits[:1]):
        with pytest.raises(BundleError, match="golden"):
            check_golden(case, wrong, 1e-4)


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


def test_manifest_refuses_contradictions(bundle: Path) -> None:
    """Repeated names, a slack above T_max, and an ads ranker of two tasks are no manifest."""
    fields = read_manifest(bundle).model_dump()
    twice = [Task(name="click").model_dump()] * 2
    for wrong in ({"tasks": twice}, {"slack": 100}, {"surface": "ads"}, {"surprise": 1}, {"version": "v1"}):
        with pytest.raises(ValidationError):
            Manifest.model_validate({**fields, **wrong})


def test_versions_are_numbers_in_order(tmp_path: Path) -> None:
    """10 comes after 9; half-written and foreign folders are not versions; no folder, no versions."""
    for name in ("9", "10", ".11.incoming", "notes"):
        (tmp_path / "feed" / name).mkdir(parents=True)

    assert versions(tmp_path, "feed") == ["9", "10"]
    assert versions(tmp_path, "ads") == []


@given(total=st.integers(0, 10**12), max_history=st.integers(1, 5000), share=st.floats(0, 1))
def test_window_is_anchored_and_bounded(total: int, max_history: int, share: float) -> None:
    """The window starts on a multiple of S, holds at most T_max, and only skips what it must."""
    slack = max(1, int(share * max_history))
    start = window_start(total, max_history, slack)

    assert start % slack == 0
    assert total - start <= max_history
    assert start == 0 or total - start > max_history - slack
    assert window_start(total + 1, max_history, slack) in (start, start + slack)
