"""CircuitBreaker: keeps calls from something that has stopped answering, and lets one through now and then to see.

    closed ── enough failures in a row ──▶ open ── after a pause, one call ──▶ it answers: closed, else open again

It does not know what is called, what a failure is, or what a caller who is kept away does instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 5  # one or two happen to anybody; five in a row, with no answer between them, to nobody who is well
PAUSE_SECONDS = 0.5  # so an outage of any length costs two calls a second, and its end is seen within half a second


class CircuitBreaker:
    """Every call that is admitted reports once: `answered`, `failed`, or `abandoned`. Event-loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._next_probe: float | None = None
        self._probing = False

    @property
    def open(self) -> bool:
        return self._next_probe is not None

    def admits(self) -> bool:
        """May a call be made now? While open: one at a time, and a pause after each that fails."""
        if self._next_probe is None:
            return True
        if self._probing or self._clock() < self._next_probe:
            return False
        self._probing = True
        return True

    def answered(self) -> None:
        """Whatever the answer was: there was one."""
        self._failures, self._next_probe, self._probing = 0, None, False

    def failed(self) -> None:
        self._failures += 1
        self._probing = False
        if self._failures >= FAILURES:
            self._next_probe = self._clock() + PAUSE_SECONDS

    def abandoned(self) -> None:
        """The caller went away before there was an answer or a failure: the next call may probe."""
        self._probing = False
