"""The tally: what was due, and what became of it."""

from __future__ import annotations

import random

import pytest

from loadtests.checks import Outcome
from loadtests.profiles import Profile, Stage
from loadtests.tally import Schedule, Tally

PROFILE = Profile("two", "", (Stage(10, 20), Stage(10, 40)))
START = 100.0


@pytest.fixture
def tally() -> Tally:
    """A run of two stages that began at 100 s."""
    return Tally(PROFILE, started=START)


def test_a_user_that_keeps_up_sends_what_is_due(tally: Tally) -> None:
    """Waiting as told, it sends as many requests as are counted as offered, at about the rate."""
    schedule, now, sent = Schedule(tally, 2.0, random.Random(1), START), START, 0
    while (now := now + schedule.wait(now)) < START + 20:
        sent += 1

    offered = sum(stage.offered for stage in tally.stages(START + 20))

    assert offered == sent
    assert 20 < offered < 60


def test_a_stuck_user_still_offers(tally: Tally) -> None:
    """While it waits for one answer its next requests fall due, and afterwards they are sent without a pause."""
    schedule = Schedule(tally, 2.0, random.Random(1), START)
    schedule.wait(START)
    due = sum(stage.offered for stage in tally.stages(START + 10))

    waits = [schedule.wait(START + 10) for _ in range(due)]

    assert due > 10
    assert waits[:-1] == [0.0] * (due - 1)
    assert waits[-1] > 0


def test_nothing_falls_due_after_the_end(tally: Tally) -> None:
    """Nor once a user has left."""
    staying, leaving = (Schedule(tally, 50.0, random.Random(seed), START) for seed in (1, 2))
    leaving.end(START + 5)
    before = tally.stages(START + 10)[0].offered
    tally.end_before(1)

    (stage,) = tally.stages(START + 60)
    staying.wait(START + 60)

    assert stage.offered == before
    assert tally.stages(START + 60) == tally.stages(tally.ended or 0.0) == [stage]


def test_what_would_fall_due_after_the_end_is_not_sent(tally: Tally) -> None:
    """A user that sleeps as the run ends wakes up to nothing, but still sends what was due before."""
    early, late = (Schedule(tally, 50.0, random.Random(seed), START) for seed in (1, 2))
    early.wait(START)
    late.wait(START + 9.999)
    assert not early.over()
    assert not late.over()

    tally.end_before(1)
    while late.wait(START + 20) == 0.0:
        assert not late.over()

    assert not early.over()
    assert late.over()


def test_outcomes_belong_to_the_stage_they_came_in(tally: Tally) -> None:
    """A stage's counts and latencies are its own; what ends late belongs to the last stage."""
    tally.became(START + 1, Outcome.answered, "feed", 4.0)
    tally.became(START + 2, Outcome.shed, "feed", 1.0)
    tally.became(START + 30, Outcome.answered, "ads", 8.0)
    tally.became(START + 11, Outcome.wrong, "ads", 1.0)

    first, second = tally.stages(START + 20)

    assert (first.answered, first.shed, first.wrong) == (1, 1, 0)
    assert (second.answered, second.shed, second.wrong) == (1, 0, 1)
    assert [latency["max"] for latency in tally.stage_latencies()] == [4.0, 8.0]
    assert {name: latency["answered"] for name, latency in tally.latencies().items()} == {"ads": 1, "feed": 1}
