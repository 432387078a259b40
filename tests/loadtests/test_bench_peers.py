"""The comparison: what it reports, never who is faster."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from loadtests import bench_peers
from loadtests.bench_peers import AIMS, CALLERS, Effort, aims, main, ratio
from loadtests.bench_peers_ours import Demand
from loadtests.bench_peers_sides import COLD, FLOOR, REDUCED, TRITON, TYPICAL, ZIPF
from loadtests.bench_shapes import LARGE, SHAPES, ReferenceShape
from loadtests.peers.closed_loop import Block

TINY = ReferenceShape("tiny", history=16, candidates=32, embedding_dim=16)
RATES = {FLOOR: 100, TYPICAL: 10, TRITON: 80, COLD: 96, ZIPF: 110, REDUCED: 180}


def blocks(*rates: int) -> list[Block]:
    """Blocks of a second each."""
    return [Block(1.0, [0.01] * rate, []) for rate in rates]


def test_a_ratio_is_taken_within_a_round() -> None:
    """A machine that halves its speed between rounds changes none of them."""
    assert ratio(blocks(90, 45, 100), blocks(100, 50, 200)) == 0.9


def test_aims_are_judged_at_their_shape_and_number_of_callers() -> None:
    """Those of this shape with many callers; one caller's ratios and Triton's are reported."""
    measured = {name: {callers: blocks(rate) for callers in CALLERS} for name, rate in RATES.items()}
    found = {result.row: result for result in aims(LARGE, measured, {})}

    judged = {row: result.met for row, result in found.items() if result.target is not None}
    assert judged == {
        "ours, cold / floor, large, 8 callers": True,
        "ours, Zipf / floor, large, 8 callers": False,
        "ours, Zipf, bf16 / floor, large, 8 callers": True,
        "ours, cold / typical FastAPI, large, 8 callers": True,
    }
    assert found["ours, cold / Triton, large, 8 callers"].value == 1.2


def test_what_could_not_be_measured_is_null_with_the_reason() -> None:
    """Not left out, and not met."""
    there = {name: {callers: blocks(rate) for callers in CALLERS} for name, rate in RATES.items() if name != TRITON}
    found = {result.row: result for result in aims(LARGE, there, {TRITON: "no wheel"})}
    lacking = found["ours, Zipf / Triton, large, 1 caller"]

    assert (lacking.value, lacking.met, lacking.note) == (None, None, "no wheel")


def test_every_aim_is_at_a_shape_that_is_measured() -> None:
    """No target that nothing would be held against."""
    assert {name for targets in AIMS.values() for name in targets} <= set(SHAPES)


@pytest.mark.slow
def test_the_whole_comparison_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every side's figures, and Triton's absence with what to do about it."""
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    monkeypatch.setattr(bench_peers, "QUICK", Effort(1, 0.2, Demand(members=5, requests=40)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: None)  # this process goes on to other tests
    main(["--quick", "--shape", "tiny", "--peers", str(tmp_path)])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])

    figures = line["figures"]["tiny"]
    assert figures[TRITON] is None
    assert "make bench-peers" in line["missing"]["tiny"][TRITON]
    for name in (FLOOR, TYPICAL, COLD, ZIPF):
        assert figures[name]["8"]["requests_per_second"] > 0
        assert figures[name]["memory_mb"] > 30
    assert line["aims"]["ours, cold / typical FastAPI, tiny, 8 callers"]["value"] > 0
