"""Latency samples → the percentiles that are worth printing. It does not know what was timed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHARES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
FEWEST_BEYOND = 1  # samples that must lie beyond a percentile; with fewer it would be the maximum under a finer name


def percentiles(milliseconds: Sequence[float]) -> dict[str, float | None]:
    """p50 … p99.9 and max, in ms, rounded to µs. None where there are too few samples to tell."""
    samples = np.asarray(milliseconds, dtype=np.float64)
    found: dict[str, float | None] = {}
    for name, share in SHARES.items():
        enough = round(len(samples) * (100.0 - share) / 100.0, 6) >= FEWEST_BEYOND
        found[name] = round(float(np.percentile(samples, share)), 3) if enough else None
    return {**found, "max": round(float(samples.max()), 3) if len(samples) else None}


def shown(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
