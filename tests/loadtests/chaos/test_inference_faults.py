"""The ranker's faults, provoked for real in their quick form."""

from __future__ import annotations

from pathlib import Path

from loadtests.chaos.__main__ import run_rows
from loadtests.chaos.inference_faults import ROWS


async def test_a_ranker_that_fails_takes_nobody_along(repository: Path) -> None:
    """And one that hangs ends the process, so that another is started."""
    found = await run_rows(ROWS, repository, quick=True)
    assert {name: figures.broken for name, figures in found.items()} == {row.name: [] for row in ROWS}
