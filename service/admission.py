"""Admission: which requests are begun, by what they are expected to cost, and how long each may take.

    permits      requests in flight, of each inference mode its own: a flood of slow non-amortized ones takes none of
                 the amortized ones' places
    the wait     a request is begun only if what is ahead of it leaves it the time that it needs

What a request costs is learned: seconds of inference for a unit of work, by mode and surface, from those that ended.
Threads serve in turns, so ahead of a request is of each other one as much as it costs itself, not more: a huge request
keeps small ones from nothing. There is no queue to sit in: who cannot be served in time is told at once, which costs
nothing, and when to come back. It does not know what a request is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from service.errors import DeadlineExceeded, NoTime, Overloaded
from service.schemas import Mode
from service.settings import Settings

_MEMORY = 0.97  # of what is remembered, when another request has ended: about the last thirty count
_CAUTION = 2.0  # a wait may turn out so many times as long as expected


@dataclass(frozen=True)
class Limits:
    """permits: requests in flight at once · deadline_seconds: longest that one may take."""

    permits: int
    deadline_seconds: float


class Work(NamedTuple):
    """kind: requests of one kind cost the same for each unit · units: what a request's inference is proportional to."""

    kind: str = ""
    units: float = 0.0


NO_WORK = Work()


class Admission:
    """threads: how many work off what was admitted. Event-loop only: its counters need no lock."""

    def __init__(self, limits: Mapping[Mode, Limits], threads: int = 1) -> None:
        self._limits = limits
        self._threads = threads
        self._in_flight: dict[Mode, int] = dict.fromkeys(limits, 0)
        self._begun: dict[object, float] = {}  # expected seconds of inference of each request in flight
        self._learned: dict[tuple[Mode, str], tuple[float, float]] = {}  # seconds, units

    @classmethod
    def from_settings(cls, settings: Settings) -> Admission:
        return cls(
            {
                "amortized": Limits(settings.amortized_permits, settings.amortized_deadline_ms / 1e3),
                "non_amortized": Limits(settings.non_amortized_permits, settings.non_amortized_deadline_ms / 1e3),
            },
            settings.inference_threads,
        )

    def in_flight(self, mode: Mode) -> int:
        """Requests of this mode that hold a permit now."""
        return self._in_flight[mode]

    def expected_seconds(self, mode: Mode, work: Work) -> float:
        """Of inference on one thread; 0 while nothing is known."""
        seconds, units = self._learned.get((mode, work.kind), (0.0, 0.0))
        return seconds / units * work.units if units else 0.0

    def took(self, mode: Mode, work: Work, seconds: float) -> None:
        """Learn from a request that has ended: what its inference took, waiting not included."""
        before, units = self._learned.get((mode, work.kind), (0.0, 0.0))
        self._learned[mode, work.kind] = _MEMORY * before + seconds, _MEMORY * units + work.units

    @asynccontextmanager
    async def admit(self, mode: Mode, work: Work = NO_WORK, give_up: float | None = None) -> AsyncIterator[None]:
        """Hold a permit for the body, and cancel the body at the deadline: the mode's, or `give_up` if that is sooner.

        Raises Overloaded at once when no permit is free or the wait would be too long, DeadlineExceeded when `give_up`
        has passed or the body was cut off.
        """
        limits = self._limits[mode]
        now = asyncio.get_running_loop().time()
        deadline = now + limits.deadline_seconds
        if give_up is not None and give_up < deadline:
            if give_up <= now:
                raise DeadlineExceeded("the caller's deadline passed before the work began")
            deadline = give_up
        cost = self.expected_seconds(mode, work)
        self._refuse(mode, cost, deadline - now)
        permit = object()
        self._in_flight[mode] += 1
        self._begun[permit] = cost
        timeout = asyncio.timeout_at(deadline)
        try:
            async with timeout:
                yield
        except TimeoutError:
            if not timeout.expired():  # somebody else's timeout, raised inside the body
                raise
            raise DeadlineExceeded(f"no answer within {deadline - now:.3g} s") from None
        finally:
            self._in_flight[mode] -= 1
            del self._begun[permit]

    def _refuse(self, mode: Mode, cost: float, seconds: float) -> None:
        """Raise Overloaded if a request of this cost has no place, or is not to be had in so many seconds."""
        backlog = sum(self._begun.values()) / self._threads
        permits = self._limits[mode].permits
        if self._in_flight[mode] >= permits:
            raise Overloaded(f"all {permits} {mode} permits are taken", backlog)
        wait = sum(min(other, cost) for other in self._begun.values()) / self._threads
        if wait > 0.0 and _CAUTION * wait > seconds - cost / self._threads:
            raise NoTime(f"the expected wait of {wait:.3g} s leaves too little time", backlog)
