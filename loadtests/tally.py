"""The tally of a locust run: which requests were due, and what became of them. It does not know locust.

A user keeps to a schedule of its own. When an answer is late the requests that fell due meanwhile are still counted as
offered, so a service that cannot keep up shows as a rate that falls short and not as a generator that slowed down.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

from loadtests.checks import Outcome
from loadtests.latency import percentiles
from loadtests.profiles import Profile, StageCounts


@dataclass
class Tally:
    """Counts by stage of the profile. Times are in seconds on one monotonic clock."""

    profile: Profile
    started: float = 0.0
    ended: float | None = None
    schedules: set[Schedule] = field(default_factory=set)
    _milliseconds: dict[tuple[int, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    _offered: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    _outcomes: dict[tuple[int, Outcome], int] = field(default_factory=lambda: defaultdict(int))

    def due(self, moment: float) -> None:
        self._offered[self._stage(moment)] += 1

    def became(self, moment: float, outcome: Outcome, name: str, milliseconds: float) -> None:
        """name: whose latency it is; only right answers have one."""
        stage = self._stage(moment)
        self._outcomes[stage, outcome] += 1
        if outcome is Outcome.answered:
            self._milliseconds[stage, name].append(milliseconds)

    def stages(self, now: float) -> list[StageCounts]:
        """Of each stage begun so far."""
        for schedule in self.schedules:
            schedule.settle(now)
        elapsed, found = (now if self.ended is None else min(now, self.ended)) - self.started, []
        for index, stage in enumerate(self.profile.stages):
            if elapsed <= 0:
                break
            counts = {outcome.value: self._outcomes[index, outcome] for outcome in Outcome}
            found.append(StageCounts(round(min(stage.seconds, elapsed), 3), self._offered[index], **counts))
            elapsed -= stage.seconds
        return found

    def latencies(self) -> dict[str, dict[str, float | None]]:
        """By name: how many were answered, and their percentiles in ms."""
        names = sorted({name for _, name in self._milliseconds})
        return {name: _described([ms for (_, of), ms in self._milliseconds.items() if of == name]) for name in names}

    def stage_latencies(self) -> list[dict[str, float | None]]:
        """The same by stage, over all names."""
        stages = range(len(self.profile.stages))
        return [_described([ms for (at, _), ms in self._milliseconds.items() if at == stage]) for stage in stages]

    def end_before(self, stage: int) -> None:
        """The run ends where this stage would have begun."""
        self.ended = self.started + sum(before.seconds for before in self.profile.stages[:stage]) - 1e-6

    def _stage(self, moment: float) -> int:
        """What comes after the end belongs to the last stage that was run."""
        if self.ended is not None:
            moment = min(moment, self.ended)
        index = self.profile.stage_at(moment - self.started)
        return len(self.profile.stages) - 1 if index is None else index


def _described(parts: Iterable[list[float]]) -> dict[str, float | None]:
    together = list(chain.from_iterable(parts))
    return {"answered": len(together), **percentiles(together)}


class Schedule:
    """When one user's requests are due: a Poisson process of `rate` a second."""

    def __init__(self, tally: Tally, rate: float, rng: random.Random, now: float) -> None:
        self._tally, self._rate, self._rng = tally, rate, rng
        self._next = now + rng.expovariate(rate)
        self._due = 0
        self._sent = 0
        tally.schedules.add(self)

    def settle(self, now: float) -> None:
        """Count what has fallen due; nothing falls due after the run's end."""
        limit = now if self._tally.ended is None else min(now, self._tally.ended)
        while self._next <= limit:
            self._tally.due(self._next)
            self._due += 1
            self._next += self._rng.expovariate(self._rate)

    def wait(self, now: float) -> float:
        """Seconds until the next request is to be sent; 0 for one that is late already."""
        self.settle(now)
        self._sent += 1
        return 0.0 if self._sent <= self._due else self._next - now

    def over(self) -> bool:
        """Whether the run ended before the next request was due, which then is neither offered nor sent."""
        if self._tally.ended is None:
            return False
        self.settle(self._tally.ended)
        return self._sent > self._due

    def end(self, now: float) -> None:
        """The user leaves: what it had not sent by now stays offered and is never answered."""
        self.settle(now)
        self._tally.schedules.discard(self)
