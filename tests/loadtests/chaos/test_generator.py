"""Generator: load from processes of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.chaos.generator import generating
from loadtests.chaos.stage import staged
from loadtests.checks import Outcome


async def test_load_is_made_elsewhere_and_told_here(repository: Path) -> None:
    """As many requests as asked for, all of them answered and in order; and a rate that the service keeps up with."""
    async with staged(repository, {}, (), quick=True) as stage:
        with generating(stage.service.url, stage.calls, stage.service.process) as generator:
            traffic = await generator.open_loop(40.0, 1.0)
            capacity = await generator.capacity(2, 0.5)

    assert len(traffic.sent) == pytest.approx(40, abs=6)
    assert {sent.outcome for sent in traffic.sent} == {Outcome.answered}
    assert traffic.sent == sorted(traffic.sent)
    assert capacity > 0.0
