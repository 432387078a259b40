"""BundleMetrics: what serves now, and what became of each attempt."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.bundle import read_manifest
from service.bundle_metrics import BundleMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_bundle_that_no_longer_serves_disappears(registry: CollectorRegistry, repository: Path) -> None:
    """`ranker_bundle_info` says what serves now, not what ever did."""
    manifest = read_manifest(repository / "feed" / "1")
    metrics = BundleMetrics(registry)
    metrics.serve([manifest])
    metrics.serve([manifest.model_copy(update={"version": "2"})])

    (family,) = [family for family in registry.collect() if family.name == "ranker_bundle_info"]
    assert [sample.labels["version"] for sample in family.samples] == ["2"]


def test_attempts_are_counted_by_how_they_ended(registry: CollectorRegistry) -> None:
    """Zeros are there from the start; a refusal says when."""
    metrics = BundleMetrics(registry)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"ranker_bundle_{name}", labels)

    assert value("loads_total", surface="ads", result="refused") == 0
    assert value("last_refusal_timestamp_seconds", surface="feed") == 0
    before = time.time()
    metrics.counted("feed", "loaded")
    metrics.counted("feed", "refused")

    assert value("loads_total", surface="feed", result="loaded") == 1
    assert value("loads_total", surface="feed", result="refused") == 1
    refused = value("last_refusal_timestamp_seconds", surface="feed")
    assert refused is not None
    assert before <= refused <= time.time()
