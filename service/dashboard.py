"""The live page's numbers: readings of the service's metrics, kept for ten minutes, as points and a summary.

A reading is taken when somebody asks and every 10 s anyway, so that a page opened in the middle of an incident shows
how it began, and an unwatched service pays next to nothing. It does not know Prometheus, HTTP, or what the page looks
like.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import get_args

from msgspec import Struct

from service.readings import (
    BUNDLE,
    CACHE,
    INFERENCE,
    KEPT_LABELS,
    REQUEST,
    STAGE,
    Change,
    Latency,
    Reading,
    Sample,
    read,
    rounded,
)
from service.schemas import Mode
from service.stages import STAGES, Stage

FRESH_SECONDS = 1.0
"""Whoever asks gets a reading that is no older: many pages cost no more than one."""
IDLE_SECONDS = 10.0
KEPT_SECONDS = 600.0
SMOOTHED_SECONDS = 10.0
"""A point tells of so much time before it: less would make a p99 of a handful of requests."""

MODES: tuple[Mode, ...] = get_args(Mode)
ANSWERED = ("ok", "degraded")
FAULTS = ("shed", "deadline", "unavailable", "failed")
"""Outcomes that are the service's own; `invalid` and `cancelled` are the caller's."""


class ModePoint(Struct):
    """rate: requests per second that ended · request: answered ones · inference: the ranker's work, encoded anew."""

    rate: float
    request: Latency
    inference: Latency


class Point(Struct):
    """The service over the SMOOTHED_SECONDS before `at` (seconds on the recorder's clock)."""

    sequence: int
    at: float
    modes: dict[Mode, ModePoint]
    errors: float | None
    reused: float | None


class ModeSummary(Struct):
    """stages: mean milliseconds of those that ran · outcomes: requests by how they ended."""

    requests: int
    in_flight: int
    rate: float
    request: Latency
    inference: Latency
    stages: dict[Stage, float]
    outcomes: dict[str, int]


class Summary(Struct):
    """The last `seconds`. inference_ratio: non-amortized / amortized median · errors, reused: shares, 0..1."""

    seconds: float
    modes: dict[Mode, ModeSummary]
    inference_ratio: float | None
    errors: float | None
    reused: float | None
    cache: dict[str, int]
    lookups: dict[str, int]


class Bundle(Struct):
    surface: str
    name: str
    version: str
    embedding_version: str
    encoder: str
    precision: str


class Snapshot(Struct):
    """What the page asks for. started: tells one life of the service from the next · now: on the points' clock."""

    started: int
    now: float
    requests_ever: int
    bundles: list[Bundle]
    cache_bytes: int
    cache_entries: int
    points: list[Point]
    summary: Summary | None


class Recorder:
    """Keeps the readings of the last KEPT_SECONDS. Event-loop only, but that samples are taken on a thread."""

    def __init__(self, samples: Callable[[Iterable[str]], list[Sample]], clock: Callable[[], float] = time.monotonic):
        self._samples = samples
        self._clock = clock
        self._readings: deque[Reading] = deque()
        self._points: deque[Point] = deque()
        self._started = time.time_ns() // 1_000_000
        self._sequence = 0
        self._reading = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Recorder]:
        """Readings are taken as long as this context lasts; the first one before it begins."""
        await self.refresh(0.0)
        task = asyncio.create_task(self._run(), name="dashboard-recorder")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def refresh(self, oldest_seconds: float) -> None:
        """Take a reading, and make the point that it ends, unless there is one that is younger."""
        async with self._reading:
            if not self._readings or self._clock() - self._readings[-1].at >= oldest_seconds:
                await self._record()

    async def snapshot(self, after: int, window: float) -> Snapshot:
        """The points that follow number `after`, and the summary of the last `window` seconds."""
        await self.refresh(FRESH_SECONDS)
        last = self._readings[-1]
        change = Change(self._before(last.at - window), last)
        return Snapshot(
            started=self._started,
            now=self._clock(),
            requests_ever=round(
                sum(last.of(f"{REQUEST}_count", *labels) for labels in last.labels(f"{REQUEST}_count"))
            ),
            bundles=[Bundle(*labels) for labels in sorted(last.labels(BUNDLE)) if last.of(BUNDLE, *labels)],
            cache_bytes=round(last.of(f"{CACHE}bytes")),
            cache_entries=round(last.of(f"{CACHE}entries")),
            points=[point for point in self._points if point.sequence > after],
            summary=_summary(change) if change.seconds > 0 else None,
        )

    async def _record(self) -> None:
        at = self._clock()
        before = self._readings[-1] if self._readings else None
        reading = await asyncio.to_thread(lambda: read(at, self._samples(KEPT_LABELS), before))
        self._readings.append(reading)
        while self._readings[0].at < at - KEPT_SECONDS:
            self._readings.popleft()
        while self._points and self._points[0].at < at - KEPT_SECONDS:
            self._points.popleft()
        if len(self._readings) > 1:
            self._sequence += 1
            self._points.append(_point(self._sequence, Change(self._before(at - SMOOTHED_SECONDS), reading)))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            await self.refresh(IDLE_SECONDS / 2)

    def _before(self, at: float) -> Reading:
        """The newest reading that is not after `at`, else the oldest."""
        return next((reading for reading in reversed(self._readings) if reading.at <= at), self._readings[0])


def _point(sequence: int, change: Change) -> Point:
    modes = {
        mode: ModePoint(
            rate=rounded(sum(change.deltas(f"{REQUEST}_count", mode).values()) / change.seconds),
            request=change.latency(REQUEST, mode, ANSWERED),
            inference=change.latency(INFERENCE, mode, ("computed",)),
        )
        for mode in MODES
    }
    return Point(sequence, change.new.at, modes, _errors(change), _reused(change))


def _summary(change: Change) -> Summary:
    modes = {mode: _mode_summary(change, mode) for mode in MODES}
    fast, slow = modes["amortized"].inference.p50, modes["non_amortized"].inference.p50
    return Summary(
        seconds=rounded(change.seconds),
        modes=modes,
        inference_ratio=rounded(slow / fast) if fast and slow else None,
        errors=_errors(change),
        reused=_reused(change),
        cache=change.deltas(f"{CACHE}events_total"),
        lookups=change.deltas("ranker_history_lookups_total"),
    )


def _mode_summary(change: Change, mode: Mode) -> ModeSummary:
    outcomes = change.deltas(f"{REQUEST}_count", mode)
    counts = change.deltas(f"{STAGE}_count", mode)
    return ModeSummary(
        requests=sum(outcomes.values()),
        in_flight=round(change.new.of("ranker_inflight_requests", mode)),
        rate=rounded(sum(outcomes.values()) / change.seconds),
        request=change.latency(REQUEST, mode, ANSWERED),
        inference=change.latency(INFERENCE, mode, ("computed",)),
        stages={s: rounded(change.delta(f"{STAGE}_sum", mode, s) / counts[s] * 1e3) for s in STAGES if s in counts},
        outcomes=outcomes,
    )


def _errors(change: Change) -> float | None:
    ended = [change.deltas(f"{REQUEST}_count", mode) for mode in MODES]
    faults = sum(counts.get(fault, 0) for counts in ended for fault in FAULTS)
    return _share(faults, sum(sum(counts.values()) for counts in ended))


def _reused(change: Change) -> float | None:
    """Of the encodings that requests asked the cache for, the share that none of them had to compute."""
    events = change.deltas(f"{CACHE}events_total")
    saved = events.get("hit", 0) + events.get("shared", 0)
    return _share(saved, saved + events.get("miss", 0))


def _share(part: float, whole: float) -> float | None:
    return rounded(part / whole) if whole else None
