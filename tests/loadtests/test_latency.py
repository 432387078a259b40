"""Percentiles that are worth printing."""

from __future__ import annotations

from loadtests.latency import percentiles, shown


def test_percentiles_are_those_of_the_samples() -> None:
    """Of 0..10,000 each is its share of ten thousand."""
    found = percentiles([float(i) for i in range(10_001)])

    assert found == {"p50": 5000, "p90": 9000, "p95": 9500, "p99": 9900, "p99.9": 9990, "max": 10_000}


def test_a_percentile_without_samples_beyond_it_is_not_given() -> None:
    """A hundred samples have a p99 and no p99.9; one sample has nothing but a maximum."""
    hundred = percentiles([1.0] * 100)

    assert (hundred["p99"], hundred["p99.9"]) == (1.0, None)
    assert percentiles([2.0]) == {"p50": None, "p90": None, "p95": None, "p99": None, "p99.9": None, "max": 2.0}
    assert set(percentiles([]).values()) == {None}


def test_a_missing_figure_shows_as_a_dash() -> None:
    """And the others with so many digits."""
    assert (shown(None), shown(1.005), shown(2.0, 0)) == ("-", "1.00", "2")
