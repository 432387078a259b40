"""What is known of one ranking request when it ends, however it ends. It does not know who counts it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from service import context
from service.errors import (
    DeadlineExceeded,
    HistoryDamaged,
    InferenceFailed,
    InvalidRequest,
    Overloaded,
    StoreUnavailable,
    Unavailable,
)
from service.schemas import Mode, Surface
from service.stages import StageClock

Outcome = Literal["ok", "degraded", "invalid", "shed", "deadline", "unavailable", "failed", "cancelled"]
Shed = Literal["permits", "wait", "deadline"]
Encoding = Literal["computed", "cached", "extended"]
LookupResult = Literal["found", "unchanged", "absent", "unavailable", "damaged"]

_OUTCOMES: tuple[tuple[type[BaseException], Outcome], ...] = (
    (InvalidRequest, "invalid"),
    (Overloaded, "shed"),
    (DeadlineExceeded, "deadline"),
    (Unavailable, "unavailable"),
    (InferenceFailed, "failed"),
    (asyncio.CancelledError, "cancelled"),
)


@dataclass(eq=False)
class RankObservation:
    """Filled in as the request goes; None = it never got so far. Reported once.

    shed: what ran out, of a request that was refused or cut off · candidates, history_length: counts · lookup: what
    the store said · encoding: where the encoded history came from
    (None in the non-amortized mode) · inference_seconds: the ranker's own work, waiting for a thread not included ·
    total_seconds: the whole request · trace_id: of the trace that records it
    """

    surface: Surface
    mode: Mode
    candidates: int
    outcome: Outcome = "failed"
    shed: Shed | None = None
    model_version: str | None = None
    lookup: LookupResult | None = None
    history_length: int | None = None
    encoding: Encoding | None = None
    inference_seconds: float | None = None
    total_seconds: float = 0.0
    clock: StageClock = field(default_factory=StageClock)
    started: float = field(default_factory=time.perf_counter)
    trace_id: str | None = field(default_factory=context.sampled_trace_id)

    def succeed(self) -> None:
        self.outcome = "degraded" if self.lookup in ("unavailable", "damaged") else "ok"

    def fail(self, error: BaseException) -> None:
        self.outcome = next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "failed")
        if isinstance(error, Overloaded):
            self.shed = error.reason
        elif isinstance(error, DeadlineExceeded):
            self.shed = "deadline"
        if self.lookup is None and isinstance(error, (HistoryDamaged, StoreUnavailable)):
            self.lookup = "damaged" if isinstance(error, HistoryDamaged) else "unavailable"

    def end(self) -> None:
        self.total_seconds = time.perf_counter() - self.started


class RankObserver(Protocol):
    def ranked(self, observation: RankObservation) -> None:
        """Called once for every request that was asked for, whatever became of it. Must not raise."""
        ...


class Observers:
    """Several observers as one, told in order."""

    def __init__(self, *observers: RankObserver) -> None:
        self._observers = observers

    def ranked(self, observation: RankObservation) -> None:
        for observer in self._observers:
            observer.ranked(observation)
