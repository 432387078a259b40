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
