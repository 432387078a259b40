"""Named load profiles: how many requests a second, for how long. It does not know how they are sent."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple


@dataclass(frozen=True)
class Stage:
    """A constant rate for a while. must_hold: the run is refused if the service does not keep up with it."""

    seconds: float
    rate: float
    must_hold: bool = True


@dataclass(frozen=True)
class Profile:
    """Stages, one after the other. to_saturation: it ends at the first stage that is not kept up with."""

    name: str
    purpose: str
    stages: tuple[Stage, ...]
    to_saturation: bool = False

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def scaled(self, time: float) -> Profile:
        """The same rates, each for `time` times as long."""
        stages = tuple(Stage(stage.seconds * time, stage.rate, stage.must_hold) for stage in self.stages)
        return Profile(self.name, self.purpose, stages, self.to_saturation)

    def stage_at(self, seconds: float) -> int | None:
        """Index of the stage so long after the start; None once all are over."""
        for index, stage in enumerate(self.stages):
            if seconds < stage.seconds:
                return index
            seconds -= stage.seconds
        return None


TICK_SECONDS = 1.0  # a new stage's users may come, or the old one's leave, so much later
POISSON_SPREAD = 4.0  # standard deviations by which arrivals may differ from the rate that was asked for


class StageCounts(NamedTuple):
    """What became of one stage's requests. offered: they were due, whether or not a user was free to send them."""

    seconds: float
    offered: int
    answered: int
    shed: int
    degraded: int
    wrong: int

    def kept_up(self, tolerance: float) -> bool:
        return self.answered >= (1.0 - tolerance) * self.offered


def saturation(profile: Profile, counts: list[StageCounts], tolerance: float) -> float | None:
    """The highest rate, in requests a second answered, that was kept up with, of a profile that looks for it."""
    held = [count.answered / count.seconds for count in counts if count.seconds > 0 and count.kept_up(tolerance)]
    return max(held, default=None) if profile.to_saturation else None


def refusals(profile: Profile, counts: list[StageCounts], tolerance: float) -> list[str]:
    """Why a run cannot be trusted: a stage that had to hold fell short, or an answer was wrong."""
    found = []
    for index, (stage, count) in enumerate(zip(profile.stages, counts, strict=False)):
        if count.wrong:
            found.append(f"stage {index + 1}: {count.wrong} wrong answers")
        asked = stage.rate * count.seconds
        before = profile.stages[index - 1].rate if index else 0.0
        spread = tolerance * asked + POISSON_SPREAD * sqrt(asked) + TICK_SECONDS * abs(stage.rate - before)
        if abs(count.offered - asked) > spread:
            found.append(f"stage {index + 1}: the generator offered {count.offered} requests instead of {asked:.0f}")
        elif stage.must_hold and not count.kept_up(tolerance):
            achieved, offered = count.answered / count.seconds, count.offered / count.seconds
            found.append(
                f"stage {index + 1}: achieved {achieved:.1f} of {offered:.1f} requests/s offered, "
                f"{achieved / offered:.1%}; at least {1 - tolerance:.0%} was asked"
            )
    return found or ([] if counts else ["no stage was run"])


RAMP_RATES = (20, 40, 60, 80, 100, 140, 180, 240, 300, 400, 500, 600, 800, 1000, 1300, 1600, 2000)

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", "does it work, and at a trickle keep up", (Stage(10, 20),)),
        Profile("steady", "latency at a rate that leaves headroom", (Stage(60, 80),)),
        Profile(
            "ramp",
            "up in steps until it no longer keeps up",
            tuple(Stage(10, rate, must_hold=rate == RAMP_RATES[0]) for rate in RAMP_RATES),
            to_saturation=True,
        ),
        Profile(
            "spike",
            "a burst far above the capacity, and the recovery from it",
            (Stage(15, 40), Stage(8, 800, must_hold=False), Stage(7, 40, must_hold=False), Stage(15, 40)),
        ),
        Profile("soak", "half an hour: does memory or latency creep", (Stage(1800, 40),)),
    )
}
