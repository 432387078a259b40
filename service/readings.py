"""Readings of the service's own metrics, and what changed between two: counts, rates and quantiles.

It does not know Prometheus (it is given plain samples), how often it is read, or who asks.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct

from service.schemas import Mode

REQUEST = "ranker_request_duration_seconds"
INFERENCE = "ranker_inference_duration_seconds"
STAGE = "ranker_stage_duration_seconds"
CACHE = "ranker_encoded_history_cache_"
BUNDLE = "ranker_bundle_info"
KEPT_LABELS: dict[str, tuple[str, ...]] = {
    f"{REQUEST}_bucket": ("mode", "outcome", "le"),
    f"{REQUEST}_count": ("mode", "outcome"),
    f"{INFERENCE}_bucket": ("mode", "encoding", "le"),
    f"{STAGE}_sum": ("mode", "stage"),
    f"{STAGE}_count": ("mode", "stage"),
    "ranker_history_lookups_total": ("result",),
    f"{CACHE}events_total": ("event",),
    f"{CACHE}bytes": (),
    f"{CACHE}entries": (),
    "ranker_inflight_requests": ("mode",),
    BUNDLE: ("surface", "name", "version", "embedding_version", "encoder", "precision"),
}
"""What is read: sample name → the labels that are told apart; over all others it is summed."""

Sample = tuple[str, Mapping[str, str], float]
Labels = tuple[str, ...]


class Latency(Struct):
    """Milliseconds; None where nothing was measured."""

    p50: float | None
    p99: float | None


class Reading(NamedTuple):
    """All of KEPT_LABELS at one moment.

    places: sample name → kept labels' values → where in `values` its value is. Readings share it, so that one that is
    kept costs 3 kB; as dictionaries of their own they cost 76.
    """

    at: float
    places: dict[str, dict[Labels, int]]
    values: array[float]

    def of(self, name: str, *labels: str) -> float:
        place = self.places[name].get(labels)
        return 0.0 if place is None else self.values[place]

    def labels(self, name: str) -> Iterable[Labels]:
        return self.places[name]


class Change(NamedTuple):
    """What happened between two readings of one service."""

    old: Reading
    new: Reading

    @property
    def seconds(self) -> float:
        return self.new.at - self.old.at

    def delta(self, name: str, *labels: str) -> float:
        return self.new.of(name, *labels) - self.old.of(name, *labels)

    def deltas(self, name: str, *labels: str) -> dict[str, int]:
        """By the label that follows `labels`, what has changed only."""
        found = {key[-1]: round(self.delta(name, *key)) for key in self.new.labels(name) if key[:-1] == labels}
        return {label: count for label, count in found.items() if count}

    def latency(self, histogram: str, mode: Mode, among: tuple[str, ...]) -> Latency:
        """Of the observations of one mode whose other label is one of `among`."""
        bounds: dict[float, float] = {}
        for key in self.new.labels(f"{histogram}_bucket"):
            if key[0] == mode and key[1] in among:
                bound = float(key[2])
                bounds[bound] = bounds.get(bound, 0.0) + self.delta(f"{histogram}_bucket", *key)
        buckets = sorted(bounds.items())
        return Latency(_milliseconds(quantile(buckets, 0.5)), _milliseconds(quantile(buckets, 0.99)))


def quantile(buckets: list[tuple[float, float]], q: float) -> float | None:
    """Prometheus' histogram_quantile of (upper bound, cumulative count): linear within a bucket, so that this page and
    a Grafana panel agree. None without observations; beyond the last finite bound, that bound."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = q * buckets[-1][1]
    below_bound, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            return (
                below_bound
                if bound == float("inf")
                else below_bound + (bound - below_bound) * ((rank - below) / (count - below))
            )
        below_bound, below = bound, count
    return below_bound


def read(at: float, samples: Iterable[Sample], before: Reading | None = None) -> Reading:
    """Samples of KEPT_LABELS' names, as the reading that follows `before`."""
    folded: dict[str, dict[Labels, float]] = {name: {} for name in KEPT_LABELS}
    for name, labels, value in samples:
        key = tuple(labels[label] for label in KEPT_LABELS[name])
        folded[name][key] = folded[name].get(key, 0.0) + value
    places = {} if before is None else before.places
    if any(places.get(name, {}).keys() != values.keys() for name, values in folded.items()):
        counter = itertools.count()
        places = {name: {key: next(counter) for key in values} for name, values in folded.items()}
    return Reading(at, places, array("d", (folded[name][key] for name, keys in places.items() for key in keys)))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else rounded(seconds * 1e3)


def rounded(value: float) -> float:
    """Four significant digits: the page shows three."""
    return float(f"{value:.4g}")
