"""BundleMetrics: which bundles serve, and what became of attempts to load one. It does not know how a bundle is loaded.

Like metrics.py it knows Prometheus; label values come from closed sets and from manifests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from model.bundle import Manifest, Surface
from service.repository import LoadResult


class BundleMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._info = Gauge(
            "ranker_bundle_info",
            "1 for each bundle that serves a surface now",
            ("surface", "name", "version", "embedding_version", "encoder", "precision"),
            registry=registry,
        )
        self._loads = Counter(
            "ranker_bundle_loads",
            "Attempts to let a bundle serve, at the start too; refused = the one before serves on",
            ("surface", "result"),
            registry=registry,
        )
        self._last_refusal = Gauge(
            "ranker_bundle_last_refusal_timestamp_seconds",
            "When a bundle was last refused, in seconds since 1970; 0 = never. /v2/repository/index says why",
            ("surface",),
            registry=registry,
        )
        for surface in get_args(Surface):
            self._last_refusal.labels(surface)
            for result in get_args(LoadResult):
                self._loads.labels(surface, result)

    def serve(self, manifests: Iterable[Manifest]) -> None:
        """Say which bundles serve now; those that no longer do disappear."""
        self._info.clear()
        for m in manifests:
            self._info.labels(m.surface, m.name, m.version, m.embedding_version, m.encoder, m.precision).set(1)

    def counted(self, surface: Surface, result: LoadResult) -> None:
        self._loads.labels(surface, result).inc()
        if result == "refused":
            self._last_refusal.labels(surface).set_to_current_time()
