"""StageClock: each stage once, in order, also when it fails."""

from __future__ import annotations

import re

import pytest

from service.stages import StageClock


def test_stages_keep_the_order_they_ran_in() -> None:
    """Server-Timing reads as the request went, in milliseconds with three decimals."""
    clock = StageClock()
    for stage in ("history", "score"):
        with clock.stage(stage):  # type: ignore[arg-type]
            pass

    assert re.fullmatch(r"history;dur=\d+\.\d{3}, score;dur=\d+\.\d{3}", clock.server_timing())


def test_a_stage_that_raises_is_measured_too() -> None:
    """A slow failure must not vanish from the graphs."""
    clock = StageClock()

    with pytest.raises(ValueError), clock.stage("encode"):
        raise ValueError

    assert clock.seconds["encode"] >= 0


def test_a_request_that_never_began_has_no_stages() -> None:
    """An empty header, not a broken one."""
    assert StageClock().server_timing() == ""


@pytest.mark.parametrize(("known", "encode", "score"), [(0.25, 0.75, 0.25), (0.0625, 0.875, 0.125), (5.0, 0.0, 1.0)])
def test_a_stage_gets_what_another_was_seen_to_take(known: float, encode: float, score: float) -> None:
    """What is known to be scoring is moved out of the encode stage: never more than it has, and the sum stays."""
    clock = StageClock()
    clock.seconds = {"encode": 0.875, "score": 0.125}
    clock.spans = {"encode": (5.0, 5.875), "score": (5.875, 6.0)}

    clock.at_least("score", known, taken_from="encode")

    assert clock.seconds == {"encode": encode, "score": score}
    assert clock.spans == {"encode": (5.0, 5.0 + encode), "score": (5.0 + encode, 6.0)}
