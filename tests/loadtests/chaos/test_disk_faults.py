"""Redis's troubles with its disk, provoked for real in their quick form."""

from __future__ import annotations

from pathlib import Path

from loadtests.chaos.__main__ import run_rows
from loadtests.chaos.disk_faults import ROWS


async def test_events_are_refused_in_words_and_ranking_goes_on(repository: Path) -> None:
    """While Redis cannot save, and while it loads; nothing acknowledged is lost."""
    found = await run_rows(ROWS, repository, quick=True)
    assert {name: figures.broken for name, figures in found.items()} == {row.name: [] for row in ROWS}
