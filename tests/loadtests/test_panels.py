"""Every panel has data under load, and what Prometheus says is what the generator saw."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest

from loadtests.catalog import read_catalog
from loadtests.dashboards import Expression
from loadtests.panels import SHADOW, Agreement, Panel, compare, drive, evaluate, mixed_calls, show, stage_seconds
from loadtests.prometheus import Sample, prometheus
from loadtests.serving import serving
from loadtests.workload import Plan, Workload

LOAD_SECONDS = 12.0
EXPRESSION = Expression("Board", "Rate", "A", "up")


@pytest.fixture(scope="module")
def workload(repository: Path) -> Workload:
    """A small workload over the tests' bundles."""
    return Workload(read_catalog(repository), Plan(members=50, requests=40, candidates=100))


def test_load_holds_every_kind_of_request(workload: Workload) -> None:
    """Both surfaces, both modes, and the amortized mode with and without kept encodings come round in turn."""
    calls = list(islice(mixed_calls(workload), 6))

    kinds = {(call.surface, call.mode, b'"reuse_encoding":false' in call.body) for call in calls}
    assert len(kinds) == 6


def test_stages_are_added_up() -> None:
    """Server-Timing's milliseconds become seconds."""
    assert stage_seconds("history;dur=0.250, score;dur=3.000") == pytest.approx(0.00325)


@pytest.mark.parametrize(
    ("samples", "empty"), [([], True), ([float("nan")], True), ([0.0], False), ([float("nan"), 1.0], False)]
)
def test_a_panel_without_a_number_is_empty(samples: list[float], empty: bool) -> None:
    """No series, or nothing but NaN, is empty; zero is data."""
    assert Panel(EXPRESSION, "up", [Sample({}, value) for value in samples]).empty is empty


@pytest.mark.parametrize(
    ("sent", "counted", "stages", "seen", "client", "holds"),
    [
        (10, 10, 0.010, 0.011, 0.012, True),
        (10, 9, 0.010, 0.011, 0.012, False),
        (10, 10, 0.010, 0.004, 0.012, False),
        (10, 10, 0.010, 0.025, 0.012, False),
        (10, 10, 0.010, float("nan"), 0.012, False),
    ],
)
def test_agreement_is_exact_in_counts_and_two_buckets_wide_in_medians(
    sent: int, counted: int, stages: float, seen: float, client: float, holds: bool
) -> None:
    """One lost request, or a median outside of what stages and caller allow, is a disagreement."""
    assert Agreement(("feed", "amortized"), sent, counted, stages, seen, client).holds is holds


def test_what_is_empty_or_odd_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The printed table marks an empty panel and a disagreement."""
    show([Panel(EXPRESSION, "up", [])], [Agreement(("feed", "amortized"), 2, 1, 0.1, 0.1, 0.1)])

    shown = capsys.readouterr().out
    assert "EMPTY" in shown
    assert "DISAGREE" in shown


@pytest.mark.slow
def test_every_panel_has_data_and_agrees_with_the_generator(repository: Path, workload: Workload) -> None:
    """Service, real Prometheus, load in both modes: no expression of a dashboard is empty, counts are exact."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus: `make system-deps` installs it")
    with serving(repository, workload, **SHADOW) as service, prometheus(service.url) as source:
        agreements = compare(source, drive(service.url, mixed_calls(workload), LOAD_SECONDS))
        panels = evaluate(source)
        firing = source.ask('ALERTS{alertstate="firing"}')

    assert [panel.expression for panel in panels if panel.empty] == []
    assert len(agreements) == 4
    assert [agreement for agreement in agreements if not agreement.holds] == []
    assert firing == []
    speed_up = [p for p in panels if p.expression.panel == "Speed-up at p50"]
    assert {sample.labels["surface"] for sample in speed_up[0].samples} == {"feed", "ads"}
