"""The session benchmark, at toy sizes: what it reports, never how fast it is."""

from __future__ import annotations

import os

import pytest
import torch

from loadtests import bench_session
from loadtests.bench_session import Effort, encode_of_session, encoders, extension, sessions

ONCE = Effort(rounds=1, lengths=(48, 64), compared=(48,), sessions=1)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow rankers and few candidates."""
    for name, value in {"WIDTH": 16, "CANDIDATES": 8, "LONG": 64, "NEW": (1, 4)}.items():
        monkeypatch.setattr(bench_session, name, value)


def test_extensions_are_compared_with_encoding_at_every_length() -> None:
    """A ratio for each T and Δ, a target where one is set, and how an extension grows."""
    with torch.inference_mode():
        results = {result.row: result for result in extension("hstu", ONCE.lengths, ONCE)}

    ratios = [f"extend hstu T={length} Δ={new}" for length in (48, 64) for new in (1, 4)]
    assert list(results) == [*ratios, "extend hstu growth T", "extend hstu growth Δ"]
    assert all(result.value > 0 for result in results.values())
    assert [row for row in ratios if results[row].target is not None] == ["extend hstu T=64 Δ=1"]


def test_hstu_is_compared_with_the_transformer() -> None:
    """Encoding and a whole request, as ratios."""
    with torch.inference_mode():
        rows = [result.row for result in encoders(ONCE.compared, ONCE)]

    assert rows == ["hstu ÷ transformer encode T=48", "hstu ÷ transformer request T=48"]


def test_the_rankers_part_of_a_session_is_one_row() -> None:
    """Over an anchor that moves, extended against anew."""
    with torch.inference_mode():
        result = encode_of_session(64, 6, ONCE)

    assert (result.row, result.target) == ("session encode", 0.15)
    assert result.value > 0


@pytest.mark.slow
def test_a_session_over_http_gives_equal_scores_and_its_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two members who do the same, against real services: scores are compared on the way, and cores given back."""
    monkeypatch.setattr("loadtests.bench_bundles.ITEMS", 100)
    cores = os.sched_getaffinity(0)
    rows = [result.row for result in sessions(64, 6, ONCE)]

    assert rows == [
        "session encode stage", "session request", "session 1 thread encode stage", "session 1 thread request",
    ]  # fmt: skip
    assert os.sched_getaffinity(0) == cores
