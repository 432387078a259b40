"""What a load test reads of a model repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loadtests.catalog import read_catalog
from tests.conftest import ACTIONS, CONTEXT, ITEMS


def test_facts_are_the_bundles(repository: Path) -> None:
    """Ids, tasks and names come out as they were exported, for both surfaces."""
    feed, ads = (read_catalog(repository).surfaces[surface] for surface in ("feed", "ads"))

    assert feed.items == tuple(f"item-{i}" for i in range(1, ITEMS + 1))
    assert (feed.tasks, ads.tasks) == ({"click", "like"}, {"click"})
    assert (feed.features, ads.features) == (2, 1)
    assert feed.actions == ACTIONS
    assert feed.context == tuple(feature.name for feature in CONTEXT)
    assert feed.max_candidates == 1000


def test_the_newest_version_counts(repository: Path, tmp_path: Path) -> None:
    """Versions are ordered as numbers, and a folder without a manifest is none."""
    for version in ("2", "10"):
        shutil.copytree(repository / "feed" / "1", tmp_path / "feed" / version)
    (tmp_path / "feed" / "11").mkdir()
    manifest = tmp_path / "feed" / "10" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"hour"', '"day"'))

    catalog = read_catalog(tmp_path)

    assert list(catalog.surfaces) == ["feed"]
    assert catalog.any.context == ("day",)


def test_an_empty_repository_is_an_error(tmp_path: Path) -> None:
    """The message says what was expected there."""
    with pytest.raises(FileNotFoundError, match="holds no bundle"):
        read_catalog(tmp_path)
