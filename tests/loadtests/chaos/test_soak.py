"""The soak, and the judgement of what grew."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.chaos.__main__ import MOST_SECONDS, run_rows
from loadtests.chaos.row import Figures
from loadtests.chaos.soak import ROWS, Samples, judge_growth, quarters


def test_growth_is_counted_after_the_warm_up() -> None:
    """What fills up at first is no leak."""
    assert quarters([1.0, 5.0, 9.0, *[100.0] * 7]) == (100.0, 100.0)
    assert quarters([float(i) for i in range(100)]) == (38.0, 91.0)


def test_what_grows_breaks_the_promise() -> None:
    """Memory by more than a share, descriptors and tasks by more than varies anyway."""
    flat, leaky = [50.0] * 40, [float(50 + i) for i in range(40)]
    names = ("memory_mb", "descriptors", "tasks", "threads")
    for name in names:
        figures = Figures()
        judge_growth(figures, Samples(**dict.fromkeys(names, flat)))
        assert figures.held
        judge_growth(figures, Samples(**(dict.fromkeys(names, flat) | {name: leaky})))
        assert [promise.split()[0] for promise in figures.broken] == [name]


async def test_nothing_grows_under_mixed_load_with_churn_reloads_and_restarts(repository: Path) -> None:
    """Twenty seconds of it."""
    found = await run_rows(ROWS, repository, quick=True)
    assert found["soak"].broken == []


@pytest.mark.slow
@pytest.mark.timeout(MOST_SECONDS + 120)
async def test_nothing_grows_for_ten_minutes(repository: Path) -> None:
    """The same, as long as `python -m loadtests.chaos --row soak` takes."""
    found = await run_rows(ROWS, repository, quick=False)
    assert found["soak"].broken == []
