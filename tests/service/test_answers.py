"""Answers: the ranked list that a response carries."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from model.bundle import Manifest, read_items, read_manifest
from service.answers import explain, rank_candidates
from service.codec import MemberHistory, decode_records, encode_records
from service.inputs import CandidateArrays
from service.items import Items
from service.schemas import Candidate, RankRequest


@pytest.fixture
def feed(repository: Path) -> Manifest:
    return read_manifest(repository / "feed" / "1")


def request(count: int, **fields: object) -> RankRequest:
    return RankRequest("bob", "feed", [Candidate(f"c{i}") for i in range(count)], **fields)  # type: ignore[arg-type]


LOGITS = np.array([[0.0, 0.0], [2.0, 1.0], [1.0, 2.0]], dtype=np.float32)


def test_the_feed_is_ordered_by_weighted_probability(feed: Manifest) -> None:
    """Best first, ranks from 1, a probability for each task by name."""
    candidates = CandidateArrays.blank(feed, 3)._replace(weights=np.array([1.0, 2.0]))

    answer = rank_candidates(request(3), feed, candidates, LOGITS)

    assert answer.chosen.tolist() == [2, 1, 0]
    assert [(r.id, r.rank) for r in answer.ranked] == [("c2", 1), ("c1", 2), ("c0", 3)]
    assert msgspec.to_builtins(answer.ranked[2].predictions) == {"click": 0.5, "like": 0.5}
    assert answer.ranked[2].score == 1.5


def test_ads_are_ordered_by_expected_revenue(repository: Path) -> None:
    """A high bid beats a high click probability; the score is 1000 · bid · p of the calibrated click."""
    ads = read_manifest(repository / "ads" / "1")
    candidates = CandidateArrays.blank(ads, 2)._replace(bids=np.array([5.0, 1.0]))

    answer = rank_candidates(request(2), ads, candidates, np.array([[0.0], [2.0]], dtype=np.float32))

    assert [r.id for r in answer.ranked] == ["c0", "c1"]
    probability = 1 / (1 + np.exp(0.3))  # the fixture's calibration: 0.9 · 0 − 0.3
    assert msgspec.to_builtins(answer.ranked[0].predictions)["click"] == pytest.approx(probability)
    assert answer.ranked[0].score == pytest.approx(5000 * probability, rel=1e-5)


def test_a_limit_answers_the_best_and_a_large_one_all(feed: Manifest) -> None:
    """The limit cuts the answer, not the ranking."""
    candidates = CandidateArrays.blank(feed, 3)._replace(weights=np.array([1.0, 2.0]))

    assert [r.id for r in rank_candidates(request(3, limit=1), feed, candidates, LOGITS).ranked] == ["c2"]
    assert len(rank_candidates(request(3, limit=99), feed, candidates, LOGITS).ranked) == 3


def test_unknown_items_are_flagged_and_logits_come_when_asked_for(feed: Manifest) -> None:
    """Both are left out of the JSON otherwise."""
    candidates = CandidateArrays.blank(feed, 3)._replace(unknown=np.array([False, False, True]))

    plain = rank_candidates(request(3), feed, candidates, LOGITS).ranked
    full = rank_candidates(request(3, logits=True), feed, candidates, LOGITS).ranked

    assert [r.unknown_item for r in plain] == [False, False, True]  # all scores are 0: the request's order
    assert [msgspec.to_builtins(r.logits) for r in full] == [
        {"click": 0.0, "like": 0.0},
        {"click": 2.0, "like": 1.0},
        {"click": 1.0, "like": 2.0},
    ]
    assert set(msgspec.to_builtins(plain[0])) == {"id", "rank", "score", "predictions"}


def test_an_explanation_names_the_actions_that_drew_most(feed: Manifest, repository: Path) -> None:
    """Largest first, with what the action was; more than the history has gives all of it."""
    items = Items(read_items(repository / "feed" / "1", feed))
    data = encode_records([4, 5, 6], [0, 1, 2], [10, 20, 30], items.embeddings16[[4, 5, 6]])
    history = MemberHistory(1, 3, 0, decode_records(data, feed.embedding_dim))
    ranked = rank_candidates(request(2), feed, CandidateArrays.blank(feed, 2), LOGITS[:2]).ranked
    attention = np.array([[0.25, 0.5, 0.125], [0.0, 0.0, 0.75]], dtype=np.float32)

    explain(ranked, attention, 2, history, feed, items)

    first, second = (r.explanation for r in ranked)
    assert msgspec.to_builtins(first) == [
        {"position": 1, "item_id": "item-5", "action": "click", "timestamp": 20, "attention": 0.5},
        {"position": 0, "item_id": "item-4", "action": "view", "timestamp": 10, "attention": 0.25},
    ]
    assert [a["position"] for a in msgspec.to_builtins(second)] == [2, 0]
    explain(ranked, attention, 100, history, feed, items)
    assert len(msgspec.to_builtins(ranked[0].explanation)) == 3


def test_a_cold_start_has_empty_explanations(feed: Manifest, repository: Path) -> None:
    """Nothing to name is an empty list, not an error."""
    items = Items(read_items(repository / "feed" / "1", feed))
    ranked = rank_candidates(request(1), feed, CandidateArrays.blank(feed, 1), LOGITS[:1]).ranked

    explain(ranked, np.zeros((1, 0), dtype=np.float32), 3, MemberHistory.empty(feed.embedding_dim), feed, items)

    assert ranked[0].explanation == []
