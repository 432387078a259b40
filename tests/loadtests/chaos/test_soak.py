"""The soak, and the judgement of what grew."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.chaos.__main__ import MOST_SECONDS, run_rows
from loadtests.chaos.row import Figures
from loadtests.chaos.soak import ROWS, Samples, judge_growth, judge_restarts, quarters
from loadtests.chaos.traffic import Sent, Traffic
from loadtests.checks import Outcome


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


@pytest.mark.parametrize(
    ("degraded", "broken"),
    [
        ({500, 501, 505}, ""),
        ({500, 505, 700, 1900}, ""),
        ({500, 505, *range(700, 705)}, "5 requests were degraded although"),
        ({500, 505, 540}, "recovery took 3.6"),
    ],
    ids=["while it is away", "now and then", "too often", "for too long"],
)
def test_degraded_long_after_a_restart_is_no_slow_recovery(degraded: set[int], broken: str) -> None:
    """But it is counted, and must be rare. Ten requests a second; Redis is away at 50 s and 100 s for half a second."""
    together, figures = Traffic(), Figures()
    for number in range(2000):
        outcome = Outcome.degraded if number in degraded else Outcome.answered
        together.sent.append(Sent(number / 10, number / 10 + 0.01, outcome, ""))
    judge_restarts(figures, together, [(50.0, 50.5), (100.0, 100.5)], 200.0)
    assert [promise[: len(broken)] for promise in figures.broken] == ([broken] if broken else [])


@pytest.mark.slow
async def test_nothing_grows_under_mixed_load_with_churn_reloads_and_restarts(repository: Path) -> None:
    """Twelve seconds of it: that its quick form can be kept as well."""
    found = await run_rows(ROWS, repository, quick=True)
    assert found["soak"].broken == []


@pytest.mark.slow
@pytest.mark.timeout(MOST_SECONDS + 120)
async def test_nothing_grows_for_ten_minutes(repository: Path) -> None:
    """The same, as long as `python -m loadtests.chaos --row soak` takes."""
    found = await run_rows(ROWS, repository, quick=False)
    assert found["soak"].broken == []
