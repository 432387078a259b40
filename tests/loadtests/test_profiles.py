"""Profiles and the verdict on a run."""

from __future__ import annotations

import pytest

from loadtests.profiles import PROFILES, Profile, Stage, StageCounts, refusals, saturation

PLAIN = Profile("plain", "", (Stage(10, 20),))
RAMP = Profile("ramp", "", (Stage(10, 20), Stage(10, 40, must_hold=False)), to_saturation=True)


def counts(offered: int, answered: int, wrong: int = 0) -> StageCounts:
    """Ten seconds of them; what is neither answered nor wrong was shed."""
    return StageCounts(10.0, offered, answered, offered - answered - wrong, 0, wrong)


def test_all_the_named_profiles_are_there() -> None:
    """Smoke fits into half a minute together with the start of the service; ramp alone looks for saturation."""
    assert set(PROFILES) == {"smoke", "steady", "ramp", "spike", "soak"}
    assert PROFILES["smoke"].seconds <= 15
    assert [name for name, profile in PROFILES.items() if profile.to_saturation] == ["ramp"]


def test_scaling_keeps_the_rates() -> None:
    """Only the time changes."""
    scaled = PROFILES["spike"].scaled(0.5)

    assert scaled.seconds == PROFILES["spike"].seconds / 2
    assert [stage.rate for stage in scaled.stages] == [stage.rate for stage in PROFILES["spike"].stages]


@pytest.mark.parametrize(("seconds", "stage"), [(0.0, 0), (9.9, 0), (10.0, 1), (19.9, 1), (20.0, None)])
def test_each_moment_has_its_stage(seconds: float, stage: int | None) -> None:
    """A stage begins where the one before ends; after the last there is none."""
    assert RAMP.stage_at(seconds) == stage


def test_a_run_that_kept_up_is_not_refused() -> None:
    """Up to the tolerance may be missing."""
    assert refusals(PLAIN, [counts(200, 200)], 0.05) == []
    assert refusals(PLAIN, [counts(200, 190)], 0.05) == []


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        (counts(200, 189), "achieved 18.9 of 20.0"),
        (counts(200, 199, wrong=1), "1 wrong"),
        (counts(0, 0), "offered 0 requests instead of 200"),
        (counts(100, 100), "offered 100 requests instead of 200"),
    ],
)
def test_what_cannot_be_trusted_is_refused(stage: StageCounts, reason: str) -> None:
    """Falling short, wrong answers, and a generator that did not send what it should."""
    (said,) = refusals(PLAIN, [stage], 0.05)

    assert reason in said


def test_a_run_without_stages_is_refused() -> None:
    """Nothing measured is not a pass."""
    assert refusals(PLAIN, [], 0.05)


def test_a_ramp_may_end_in_a_stage_that_falls_short() -> None:
    """Its saturation is the best rate answered in a stage that was kept up with."""
    stages = [counts(200, 200), counts(400, 250)]

    assert refusals(RAMP, stages, 0.05) == []
    assert saturation(RAMP, stages, 0.05) == 20.0
    assert saturation(PLAIN, stages[:1], 0.05) is None
    assert refusals(RAMP, [counts(200, 100)], 0.05)
