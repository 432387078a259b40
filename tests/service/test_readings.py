"""Readings: what is kept of the metrics, and what changed between two of them."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.metrics import LATENCY_BUCKETS, Metrics
from service.observation import Encoding, Outcome, RankObservation
from service.readings import INFERENCE, KEPT_LABELS, REQUEST, STAGE, Change, Latency, Reading, quantile, read
from service.schemas import Mode, Surface
from service.stages import StageClock


def ranked(
    metrics: Metrics,
    seconds: float = 0.004,
    mode: Mode = "amortized",
    surface: Surface = "feed",
    outcome: Outcome = "ok",
    encoding: Encoding | None = None,
) -> None:
    clock = StageClock()
    clock.seconds = {"score": seconds / 2}
    metrics.ranked(
        RankObservation(
            surface=surface,
            mode=mode,
            candidates=3,
            outcome=outcome,
            model_version="1",
            encoding=encoding,
            inference_seconds=seconds,
            total_seconds=seconds,
            clock=clock,
        )
    )


def reading(metrics: Metrics, before: Reading | None = None) -> Reading:
    """Two seconds after the one before it."""
    return read(0.0 if before is None else before.at + 2.0, metrics.samples(KEPT_LABELS), before)


def test_every_name_that_is_read_is_a_metric_of_the_service() -> None:
    """Nothing on the page stays empty because a metric was renamed."""
    metrics = Metrics()
    ranked(metrics)
    metrics.watch_inflight(lambda mode: 0)

    found = {name for name, _, _ in metrics.samples(KEPT_LABELS)}

    assert set(KEPT_LABELS) - found == {"ranker_bundle_info"}  # there is none before a bundle serves


def test_labels_that_are_not_kept_are_summed_over() -> None:
    """Both surfaces count as one; outcomes are told apart."""
    metrics = Metrics()
    before = reading(metrics)
    ranked(metrics, surface="feed")
    ranked(metrics, surface="ads")
    ranked(metrics, outcome="shed")

    change = Change(before, reading(metrics, before))

    assert change.seconds == 2.0
    assert change.deltas(f"{REQUEST}_count", "amortized") == {"ok": 2, "shed": 1}
    assert change.deltas(f"{REQUEST}_count", "non_amortized") == {}
    assert change.delta(f"{STAGE}_sum", "amortized", "score") == pytest.approx(0.006)


def test_a_reading_that_is_kept_costs_little_more_than_its_values() -> None:
    """A page that is open all day has six hundred of them kept."""
    metrics = Metrics()
    for mode in get_args(Mode):
        for outcome in get_args(Outcome):
            ranked(metrics, mode=mode, outcome=outcome)
    readings = [reading(metrics)]

    tracemalloc.start()
    try:
        for _ in range(100):
            readings.append(reading(metrics, readings[-1]))
        each = tracemalloc.get_traced_memory()[0] / 100
    finally:
        tracemalloc.stop()

    values = len(readings[0].values)
    assert values > 200
    assert each < 16 * values


def test_a_series_that_is_new_was_zero_before() -> None:
    """And those that were there before it are still told apart."""
    metrics = Metrics()
    ranked(metrics)
    before = reading(metrics)
    ranked(metrics, outcome="shed")
    ranked(metrics)

    after = reading(metrics, before)
    change = Change(before, after)

    assert change.deltas(f"{REQUEST}_count", "amortized") == {"ok": 1, "shed": 1}
    assert (before.of(f"{REQUEST}_count", "amortized", "shed"), after.of(f"{REQUEST}_count", "amortized", "shed")) == (
        0,
        1,
    )


def test_a_change_knows_nothing_of_what_was_before_it() -> None:
    """Only what was observed between the readings is in its quantiles."""
    metrics = Metrics()
    ranked(metrics, seconds=10.0)
    before = reading(metrics)
    for _ in range(100):
        ranked(metrics, seconds=0.004)

    latency = Change(before, reading(metrics, before)).latency(REQUEST, "amortized", ("ok",))

    assert latency.p50 is not None
    assert latency.p99 is not None
    assert 2.8 < latency.p50 < latency.p99 < 4.1


def test_reused_encodings_have_no_say_in_the_comparison_of_modes() -> None:
    """Inference is told apart by where the encoding came from."""
    metrics = Metrics()
    before = reading(metrics)
    ranked(metrics, seconds=0.0001, encoding="cached")

    assert Change(before, reading(metrics, before)).latency(INFERENCE, "amortized", ("computed",)) == Latency(
        None, None
    )


@given(st.lists(st.floats(2e-4, 60.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_observation_that_it_is(seconds: list[float], q: float) -> None:
    """As Prometheus guesses: within a factor of √2 of the truth, by how the buckets are cut."""
    bounds = [*LATENCY_BUCKETS, float("inf")]
    buckets = [(bound, float(sum(s <= bound for s in seconds))) for bound in bounds]
    truth = next(s for rank, s in enumerate(sorted(seconds), 1) if rank >= q * len(seconds) * (1 - 1e-12))
    low, high = next((low, high) for low, high in pairwise([0.0, *bounds]) if truth <= high)

    found = quantile(buckets, q)

    assert found is not None
    assert low * (1 - 1e-9) <= found <= high * (1 + 1e-9)


def test_a_quantile_of_nothing_is_none_and_beyond_the_last_bound_it_is_that_bound() -> None:
    """Neither zero nor infinity is shown as a latency."""
    infinity = float("inf")

    assert quantile([], 0.5) is None
    assert quantile([(1.0, 0.0), (infinity, 0.0)], 0.5) is None
    assert quantile([(1.0, 0.0), (infinity, 5.0)], 0.5) == 1.0
    assert quantile([(1.0, 0.0), (2.0, 4.0), (infinity, 4.0)], 0.5) == 1.5
