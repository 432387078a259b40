"""Admission: how many requests run at once, and how long each may take. It does not know what a request is.

Each inference mode has permits and a deadline of its own, so that a flood of slow non-amortized requests takes none
of the amortized ones' places. There is no queue: without a free permit a request is shed at once, which costs nothing
and tells the caller when to come back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.errors import DeadlineExceeded, Overloaded
from service.schemas import Mode
from service.settings import Settings

_SMOOTHING = 0.1  # weight of the newest request in the running mean of service times


@dataclass(frozen=True)
class Limits:
    """permits: requests in flight at once · deadline_seconds: longest that one may take."""

    permits: int
    deadline_seconds: float


class Admission:
    """Permits per mode. Event-loop only: its counters need no lock."""

    def __init__(self, limits: Mapping[Mode, Limits]) -> None:
        self._limits = limits
        self._in_flight: dict[Mode, int] = dict.fromkeys(limits, 0)
        self._service_seconds: dict[Mode, float] = dict.fromkeys(limits, 0.0)

    @classmethod
    def from_settings(cls, settings: Settings) -> Admission:
        return cls(
            {
                "amortized": Limits(settings.amortized_permits, settings.amortized_deadline_ms / 1e3),
                "non_amortized": Limits(settings.non_amortized_permits, settings.non_amortized_deadline_ms / 1e3),
            }
        )

    def in_flight(self, mode: Mode) -> int:
        """Requests of this mode that hold a permit now."""
        return self._in_flight[mode]

    @asynccontextmanager
    async def admit(self, mode: Mode, give_up: float | None = None) -> AsyncIterator[None]:
        """Hold a permit for the body, and cancel the body at the deadline: the mode's, or `give_up` if that is sooner.

        Raises Overloaded at once when no permit is free, DeadlineExceeded when the body was cut off.
        """
        limits = self._limits[mode]
        if self._in_flight[mode] >= limits.permits:
            raise Overloaded(f"all {limits.permits} {mode} permits are taken", self._service_seconds[mode])
        now = asyncio.get_running_loop().time()
        deadline = now + limits.deadline_seconds
        if give_up is not None and give_up < deadline:
            if give_up <= now:
                raise DeadlineExceeded("the caller's deadline passed before the work began")
            deadline = give_up
        self._in_flight[mode] += 1
        start = time.perf_counter()
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
            self._remember(mode, time.perf_counter() - start)

    def _remember(self, mode: Mode, seconds: float) -> None:
        mean = self._service_seconds[mode]
        self._service_seconds[mode] = seconds if mean == 0.0 else mean + _SMOOTHING * (seconds - mean)
