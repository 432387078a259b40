"""The table of all rows."""

from __future__ import annotations

from loadtests.chaos.table import ROWS


def test_rows_have_names_of_their_own() -> None:
    """A row is asked for by its name."""
    assert len({row.name for row in ROWS}) == len(ROWS)
