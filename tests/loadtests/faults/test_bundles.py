"""Bundles that misbehave: the service takes them for good ones, and gets what it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.faults.bundles import FAULT, NAN, RAISE, SPIN
from service.client import ProblemError
from service.schemas import Candidate, RankRequest
from tests.live import Live


def request(fault: float) -> RankRequest:
    return RankRequest("m", "feed", [Candidate("item-1"), Candidate("item-2")], context={FAULT: fault})


def test_a_request_that_asks_for_no_fault_is_ranked(faulty: Live) -> None:
    """Also in the other mode, and with an ordinary value of the feature."""
    assert len(faulty.client.rank(request(0.5)).response.ranked) == 2


@pytest.mark.parametrize("fault", [RAISE, NAN])
@pytest.mark.parametrize("mode", ["amortized", "non_amortized"])
def test_a_fault_fails_its_request_typed_and_no_other(faulty: Live, fault: float, mode: str) -> None:
    """500 `inference_failed`; the next request on the same threads is answered."""
    bad = request(fault)
    bad.mode = mode  # type: ignore[assignment]

    with pytest.raises(ProblemError) as failed:
        faulty.client.rank(bad)

    assert (failed.value.problem.status, failed.value.problem.code) == (500, "inference_failed")
    assert len(faulty.client.rank(request(0.0)).response.ranked) == 2


def test_a_slow_pass_takes_as_long_as_asked(faulty: Live) -> None:
    """About: at least a quarter of it on any machine."""
    assert faulty.client.rank(request(SPIN + 200.0)).stages["score"] > 0.05


def test_it_is_a_bundle_like_any_other(faulty_repository: Path) -> None:
    """One version of the feed, and nothing else."""
    assert [path.name for path in (faulty_repository / "feed").iterdir()] == ["1"]
