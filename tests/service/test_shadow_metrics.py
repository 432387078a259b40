"""ShadowMetrics: what is counted of a pair, and of one that never came to be."""

from __future__ import annotations

from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from service.metrics import LATENCY_BUCKETS
from service.shadow import DropReason, Pair
from service.shadow_metrics import ShadowMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ShadowMetrics:
    return ShadowMetrics(registry, LATENCY_BUCKETS)


def test_a_pair_is_counted_in_both_modes(registry: CollectorRegistry, metrics: ShadowMetrics) -> None:
    """Both latencies, the difference and the order, under the pair's surface; parity holds."""
    metrics.compared(Pair("ads", {"amortized": 0.25, "non_amortized": 4.0}, 1e-6, "tied", broken=False))

    name = "ranker_shadow_inference_duration_seconds_sum"
    assert registry.get_sample_value(name, {"mode": "amortized", "surface": "ads"}) == 0.25
    assert registry.get_sample_value(name, {"mode": "non_amortized", "surface": "ads"}) == 4.0
    assert registry.get_sample_value("ranker_shadow_logit_difference_sum", {"surface": "ads"}) == 1e-6
    assert registry.get_sample_value("ranker_shadow_pairs_total", {"surface": "ads", "order": "tied"}) == 1
    assert registry.get_sample_value("ranker_shadow_parity_broken_total", {"surface": "ads"}) == 0


def test_a_mode_that_failed_breaks_parity_and_is_no_pair(registry: CollectorRegistry, metrics: ShadowMetrics) -> None:
    """There is no difference to observe and no order to compare; the alarm rings all the same."""
    metrics.compared(Pair("feed", {"amortized": 0.25}, None, None, broken=True))

    assert registry.get_sample_value("ranker_shadow_parity_broken_total", {"surface": "feed"}) == 1
    assert registry.get_sample_value("ranker_shadow_logit_difference_count", {"surface": "feed"}) == 0
    assert registry.get_sample_value("ranker_shadow_pairs_total", {"surface": "feed", "order": "same"}) == 0


def test_series_are_there_before_the_first_pair(registry: CollectorRegistry, metrics: ShadowMetrics) -> None:
    """The first broken parity is an increase, not a new series; and no event adds a series."""
    before = [sample.labels for family in registry.collect() for sample in family.samples]
    for reason in get_args(DropReason):
        assert registry.get_sample_value("ranker_shadow_dropped_total", {"reason": reason}) == 0
        metrics.dropped(reason)
    metrics.compared(Pair("feed", {"amortized": 0.1, "non_amortized": 0.2}, 1.0, "different", broken=True))

    assert [sample.labels for family in registry.collect() for sample in family.samples] == before
