"""Rows and figures."""

from __future__ import annotations

from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage


async def _run(stage: Stage) -> Figures:
    return Figures()


def test_a_row_holds_until_a_promise_is_broken() -> None:
    """Kept promises leave no trace; each broken one is said."""
    figures = Figures()
    figures.expect(True, "unsaid")
    assert figures.held
    figures.expect(False, "3 were lost")
    assert (figures.held, figures.broken) == (False, ["3 were lost"])


def test_rows_share_a_stage_when_it_is_the_same_and_none_uses_it_up() -> None:
    """Equal settings and equal Redis: one stage; a row that is alone has its own."""
    plain, other = Row("a", "", _run), Row("b", "", _run)
    assert plain.stage == other.stage
    assert Row("c", "", _run, settings={"RANKER_X": "1"}).stage != plain.stage
    assert Row("d", "", _run, redis=("--appendonly", "yes")).stage != plain.stage
    assert Row("e", "", _run, alone=True).stage != Row("f", "", _run, alone=True).stage != plain.stage
