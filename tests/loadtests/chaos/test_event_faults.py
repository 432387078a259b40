"""What becomes of events under the store's faults, provoked for real in their quick form."""

from __future__ import annotations

from pathlib import Path

from loadtests.chaos.__main__ import run_rows
from loadtests.chaos.event_faults import ROWS


async def test_nothing_acknowledged_is_lost(repository: Path) -> None:
    """Every row of this group holds under load; only a failover without WAIT may lose, within its window."""
    found = await run_rows(ROWS, repository, quick=True)
    assert {name: figures.broken for name, figures in found.items()} == {row.name: [] for row in ROWS}
    assert found["failover-wait"].facts["acknowledged events lost"] == 0
