"""Running sums per item, read as they stood strictly before a time, so that no feature knows the future.

It does not know which data set the events come from, or what a feature is for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.datasets.base import F32, I64


class AsOf:
    """What was known of items at a time: how often shown, and how often with which outcome.

    items: [E] int64 · times: [E] int64 ms, when the outcome became known · outcomes: [E, K] float, 0 or 1
    """

    def __init__(self, items: I64, times: I64, outcomes: F32) -> None:
        self._low = int(times.min())
        self._span = int(times.max()) - self._low + 2
        keys = self._key(items, times)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._sums = _running(outcomes[order])
        by_time = np.argsort(times, kind="stable")
        self._times = times[by_time]
        self._totals = _running(outcomes[by_time])

    def counts(self, items: I64, times: I64) -> NDArray[np.float64]:
        """[S] — events of each item strictly before each time."""
        start, end = self._range(items, times)
        return (end - start).astype(np.float64)

    def rates(self, items: I64, times: I64, strength: float = 10.0) -> NDArray[np.float64]:
        """[S, K] — smoothed share of positives: `strength` events' worth of the rate over all items at that time."""
        start, end = self._range(items, times)
        seen = np.searchsorted(self._times, times, side="left")
        prior = (self._totals[seen] + 1.0) / (seen[:, None] + 2.0)
        return (self._sums[end] - self._sums[start] + strength * prior) / ((end - start)[:, None] + strength)

    def _range(self, items: I64, times: I64) -> tuple[I64, I64]:
        start = np.searchsorted(self._keys, items * self._span, side="left")
        return start, np.searchsorted(self._keys, self._key(items, times), side="left")

    def _key(self, items: I64, times: I64) -> I64:
        return items * self._span + np.clip(times - self._low, 0, self._span - 1)


def _running(values: F32) -> NDArray[np.float64]:
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
