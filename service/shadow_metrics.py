"""ShadowMetrics: the part of the metrics that tells how requests fared that were run again in both modes.

It does not know which requests those are, or how they are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.schemas import Mode, Surface
from service.shadow import DropReason, OrderAgreement, Pair

DIFFERENCE_BUCKETS = tuple(10.0 ** (k / 2) for k in range(-16, 3))
"""1e-8 to 10 in steps of √10: float32's rounding lies near 1e-6, a broken ranker's scores anywhere above."""


class ShadowMetrics:
    """A `PairObserver`. Its series exist from the start: a rate over one that springs into being misses its first
    event, and a broken parity must not be missed."""

    def __init__(self, registry: CollectorRegistry, latency_buckets: Sequence[float]) -> None:
        self._seconds = Histogram(
            "ranker_shadow_inference_duration_seconds",
            "The ranker's own work on requests that were run again in both modes, encodings computed anew for each",
            ("mode", "surface"),
            buckets=latency_buckets,
            registry=registry,
        )
        self._difference = Histogram(
            "ranker_shadow_logit_difference",
            "Largest difference of a compared request's logits, divided by max(1, |logit|)",
            ("surface",),
            buckets=DIFFERENCE_BUCKETS,
            registry=registry,
        )
        self._pairs = Counter(
            "ranker_shadow_pairs",
            "Requests compared in both modes, by the order they gave; tied: only scores within the tolerance swapped",
            ("surface", "order"),
            registry=registry,
        )
        self._broken = Counter(
            "ranker_shadow_parity_broken",
            "Compared requests whose logits differ by more than the tolerance, or that one mode could not score",
            ("surface",),
            registry=registry,
        )
        self._dropped = Counter(
            "ranker_shadow_dropped", "Requests chosen for comparison and not compared", ("reason",), registry=registry
        )
        for surface in get_args(Surface):
            self._difference.labels(surface)
            self._broken.labels(surface)
            for order in get_args(OrderAgreement):
                self._pairs.labels(surface, order)
            for mode in get_args(Mode):
                self._seconds.labels(mode, surface)
        for reason in get_args(DropReason):
            self._dropped.labels(reason)

    def compared(self, pair: Pair) -> None:
        """Count one request that was run again in both modes."""
        surface = pair.surface
        for mode, seconds in pair.seconds.items():
            self._seconds.labels(mode, surface).observe(seconds)
        if pair.difference is not None:
            self._difference.labels(surface).observe(pair.difference)
        if pair.order is not None:
            self._pairs.labels(surface, pair.order).inc()
        if pair.broken:
            self._broken.labels(surface).inc()

    def dropped(self, reason: DropReason) -> None:
        self._dropped.labels(reason).inc()
