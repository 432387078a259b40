"""Crowd: how many ranking requests are inside, and how many the event loop can have inside without being late.

A request costs the event loop time, and while that works others off, a reply of the history store waits. So no more are
let in than it works off in `most_seconds`. What one costs is learned while the loop is busy; before that there is no
limit here. It does not know what a request is, or what its inference costs (admission.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LESSON = 64  # requests between two measurements
_BUSY = 0.5  # share of the wall time; a loop that is less busy than that also measures its own idling


class Crowd:
    """Event-loop only. fewest: so many are let in in any case, or the inference threads would idle."""

    def __init__(
        self,
        most_seconds: float,
        fewest: int,
        clock: Callable[[], float] = time.perf_counter,
        processor_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._most_seconds = most_seconds
        self._fewest = fewest
        self._clock = clock
        self._processor_clock = processor_clock
        self._since = clock(), processor_clock()
        self._left = 0
        self._limit = math.inf
        self._request_seconds = 0.0
        self.inside = 0

    @property
    def full(self) -> bool:
        return self.inside >= self._limit

    @property
    def seconds(self) -> float:
        """What those inside still cost the event loop."""
        return self.inside * self._request_seconds

    def enter(self) -> None:
        self.inside += 1

    def leave(self) -> None:
        self.inside -= 1
        self._left += 1
        if self._left == LESSON:
            self._learn()

    def _learn(self) -> None:
        began, worked_before = self._since
        self._since = now, worked = self._clock(), self._processor_clock()
        self._left = 0
        wall = now - began
        if worked - worked_before > _BUSY * wall:
            self._request_seconds = wall / LESSON  # with what it waits for the interpreter's lock, and what it refuses
            self._limit = max(self._fewest, int(self._most_seconds / self._request_seconds))
