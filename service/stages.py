"""StageClock: where one request's time goes. It does not know who reads it (a header, a histogram, a span)."""

from __future__ import annotations

import time
from typing import Literal, get_args

Stage = Literal["history", "assemble", "encode", "score", "order"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class StageClock:
    """Seconds per stage, each measured once, also when the stage raises. Request-lifetime; not thread-safe.

    seconds: how long each took, adding up · spans: when each began and ended, on the performance counter
    """

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}
        self.spans: dict[Stage, tuple[float, float]] = {}

    def stage(self, name: Stage) -> _Running:
        """Measures the block that it surrounds."""
        return _Running(self, name)

    def at_least(self, name: Stage, seconds: float, taken_from: Stage) -> None:
        """Credit a stage with what it is known to have taken, out of one that it was seen as part of."""
        missing = min(max(0.0, seconds - self.seconds[name]), self.seconds[taken_from])
        self.seconds[name] += missing
        self.seconds[taken_from] -= missing
        (start, end), (earlier, border) = self.spans[name], self.spans[taken_from]
        self.spans[name], self.spans[taken_from] = (start - missing, end), (earlier, border - missing)

    def server_timing(self) -> str:
        """The `Server-Timing` header's value: stages in the order they ran, durations in milliseconds."""
        return ", ".join(f"{name};dur={seconds * 1e3:.3f}" for name, seconds in self.seconds.items())


class _Running:
    """A class, since contextmanager costs several times as much, five times a request."""

    __slots__ = ("_clock", "_name", "_start")

    def __init__(self, clock: StageClock, name: Stage) -> None:
        self._clock, self._name = clock, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        end = time.perf_counter()
        self._clock.seconds[self._name] = end - self._start
        self._clock.spans[self._name] = self._start, end
