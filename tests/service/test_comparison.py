"""Comparison: both modes asked the same, and the figures drawn from their answers."""

from __future__ import annotations

import pytest

from service.comparison import AMORTIZED, KEPT, NON_AMORTIZED, compare, parity
from service.schemas import Candidate, Event, HistoryInfo, ModelRef, RankedCandidate, RankRequest, RankResponse
from tests.live import Live


@pytest.fixture
def request_(live: Live) -> RankRequest:
    events = [Event(f"item-{i + 1}", "view", 1000 + i) for i in range(20)]
    live.client.append_events("compared", events, idempotency_key="once")
    return RankRequest("compared", "feed", [Candidate(f"item-{i}") for i in range(1, 41)], limit=3)


def test_both_modes_are_compared(live: Live, request_: RankRequest) -> None:
    """Equal to the tolerance of the design, in one order, over all candidates whatever the request's limit."""
    comparison = compare(live.client, request_, [AMORTIZED, KEPT, NON_AMORTIZED], repeat=2)

    assert comparison.parity is not None
    assert comparison.parity.relative <= 1e-5
    assert comparison.parity.same_order
    assert comparison.speedup is not None
    assert comparison.speedup > 0
    assert [len(answer.ranked) for answer in comparison.answers] == [40, 40, 40]
    assert [answer.mode for answer in comparison.answers] == ["amortized", "amortized", "non_amortized"]
    assert [answer.history.source for answer in comparison.answers] == ["store", "cache", "store"]


def test_the_headline_compares_fresh_encodings(live: Live, request_: RankRequest) -> None:
    """Every amortized run that counts encodes its history: a kept encoding would flatter it."""
    labels = {"mode": "amortized", "surface": "feed", "model_version": "1", "encoding": "computed"}
    before = live.metric("ranker_inference_duration_seconds_count", **labels)

    compare(live.client, request_, [AMORTIZED, NON_AMORTIZED], repeat=3)

    assert live.metric("ranker_inference_duration_seconds_count", **labels) == before + 4


def test_one_mode_has_nothing_to_be_compared_with(live: Live, request_: RankRequest) -> None:
    """No ratio is made up."""
    comparison = compare(live.client, request_, [NON_AMORTIZED], repeat=1)

    assert (comparison.parity, comparison.speedup) == (None, None)
    assert "encode" not in comparison.timings[0].stages


def test_the_facts_are_plain_data(live: Live, request_: RankRequest) -> None:
    """What `--json` prints: the best of each variant, milliseconds by stage, parity and ratio."""
    facts = compare(live.client, request_, [AMORTIZED, NON_AMORTIZED], repeat=1).facts(limit=2)

    assert (facts["surface"], facts["candidates"], facts["history"]["length"]) == ("feed", 40, 20)
    assert [len(ranked) for ranked in facts["ranked"].values()] == [2, 2]
    assert set(facts["milliseconds"]["amortized"]) == {"history", "assemble", "encode", "score", "order", "inference"}
    assert facts["parity"]["same_order"] is True


def answer(*logits: tuple[str, float]) -> RankResponse:
    ranked = [RankedCandidate(item, i + 1, 0.0, {}, logits={"click": logit}) for i, (item, logit) in enumerate(logits)]
    return RankResponse("r", ModelRef("feed", "1"), "amortized", HistoryInfo(0, "store"), ranked)


def test_parity_is_relative_to_large_logits_only() -> None:
    """|Δ| / max(1, |logit|): a difference of 0.1 at 10 is 0.01, one of 0.05 at 0.5 stays 0.05."""
    found = parity(answer(("a", 10.0), ("b", 0.5)), answer(("a", 10.1), ("b", 0.45)))

    assert found.absolute == pytest.approx(0.1)
    assert found.relative == pytest.approx(0.05)
    assert found.same_order


def test_another_order_is_noticed() -> None:
    """Equal logits in another order are no agreement."""
    assert not parity(answer(("a", 1.0), ("b", 1.0)), answer(("b", 1.0), ("a", 1.0))).same_order
