"""Reloads under load, provoked for real in their quick form."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loadtests.chaos.__main__ import run_rows
from loadtests.chaos.reload_faults import BAD, ROWS, add_version


async def test_a_reload_is_noticed_by_nobody_and_a_bad_bundle_is_refused(repository: Path) -> None:
    """Every row of this group holds under load."""
    found = await run_rows(ROWS, repository, quick=True)
    assert {name: figures.broken for name, figures in found.items()} == {row.name: [] for row in ROWS}


@pytest.mark.parametrize("fault", BAD)
def test_a_fault_changes_the_bundle(repository: Path, tmp_path: Path, fault: str) -> None:
    """Each spoils what it is given, and only that."""
    feed = Path(shutil.copytree(repository / "feed", tmp_path / "feed"))
    add_version(feed)
    before = {path.name: path.read_bytes() for path in (feed / "2").iterdir()}

    BAD[fault](feed / "2")

    after = {path.name: path.read_bytes() for path in (feed / "2").iterdir()}
    assert after != before
    assert {path.name: path.read_bytes() for path in (feed / "1").iterdir()} != after
