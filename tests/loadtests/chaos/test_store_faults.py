"""The store's faults, provoked for real in their quick form."""

from __future__ import annotations

from pathlib import Path

from loadtests.chaos.__main__ import run_rows
from loadtests.chaos.store_faults import ROWS


async def test_ranking_stays_useful_whatever_becomes_of_the_store(repository: Path) -> None:
    """Every row of this group holds under load."""
    found = await run_rows(ROWS, repository, quick=True)
    assert {name: figures.broken for name, figures in found.items()} == {row.name: [] for row in ROWS}
