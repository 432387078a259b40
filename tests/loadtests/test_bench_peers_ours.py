"""What our service is asked beside its peers, and how answers are judged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from loadtests.bench_bundles import Bundle
from loadtests.bench_peers_ours import Demand, Questions, WrongAnswer
from loadtests.bench_shapes import ReferenceShape
from loadtests.peers.closed_loop import Ask, Reply
from service.embedded_redis import EmbeddedRedis
from service.ordering import probabilities
from service.schemas import HistoryInfo, ModelRef, RankedCandidate, RankRequest, RankResponse

TINY = ReferenceShape("tiny", history=16, candidates=32, embedding_dim=16)
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Questions]:
    """Forty requests of ten members, their histories in a Redis of its own."""
    with EmbeddedRedis() as redis:
        bundle = Bundle(TINY, tmp_path_factory.mktemp("bundles"))
        yield Questions(bundle, redis.url, Demand(members=10, requests=40))


def asked(ask: Ask) -> RankRequest:
    """The request in an ask's bytes."""
    return msgspec.json.decode(ask.data.partition(b"\r\n\r\n")[2], type=RankRequest)


def right(questions: Questions, index: int) -> RankResponse:
    """The answer that the service should give."""
    request = asked(next(itertools.islice(questions.zipf(), index, None)))
    manifest = questions.bundle.manifest
    predictions = probabilities(questions.reference(index), manifest.tasks).tolist()
    scores = [sum(row) for row in predictions]
    names = [task.name for task in manifest.tasks]
    ranked = [
        RankedCandidate(request.candidates[row].id, rank, scores[row], dict(zip(names, predictions[row], strict=True)))
        for rank, row in enumerate(np.argsort(scores)[::-1], start=1)
    ]
    return RankResponse("r", ModelRef("feed", "1"), "amortized", HistoryInfo(TINY.history, "cache"), ranked)


def reply(index: int, answer: RankResponse) -> Reply:
    """The same over the wire."""
    return Reply(index, b"http/1.1 200 ok\r\n", msgspec.json.encode(answer))


def test_members_return_and_cold_requests_are_the_same_ones(questions: Questions) -> None:
    """The first member asks most; cold requests differ in one flag; the warming ones have one candidate each."""
    zipf, cold = list(itertools.islice(questions.zipf(), 40)), list(itertools.islice(questions.cold(), 40))
    members = [asked(ask).member_id for ask in zipf]
    counts = {member: members.count(member) for member in set(members)}

    assert max(counts, key=lambda member: counts[member]) == "member-00000"
    for kept, anew in zip(zipf, cold, strict=True):
        assert asked(anew) == msgspec.structs.replace(asked(kept), reuse_encoding=False)
    warming = [asked(ask) for ask in questions.warming()]
    assert [request.member_id for request in warming] == members
    assert {len(request.candidates) for request in warming} == {1}


def test_peers_get_what_the_service_would_read(questions: Questions) -> None:
    """The member's whole history and the candidates' embeddings, as the item table holds them."""
    inputs = questions.inputs(3)
    table, request = questions.bundle.items, asked(next(itertools.islice(questions.zipf(), 3, None)))

    assert inputs.history.shape == (TINY.history, TINY.embedding_dim)
    assert (np.diff(inputs.timestamps) > 0).all()
    rows = [table.ids.index(candidate.id) for candidate in request.candidates]
    np.testing.assert_array_equal(inputs.candidates, table.embeddings[rows].astype(np.float32))


def test_a_right_answer_passes(questions: Questions) -> None:
    """Ours and a peer's, flat or not."""
    questions.judge_ours(reply(2, right(questions, 2)), TOLERANCE)
    questions.judge_logits("a peer", 2, questions.reference(2).ravel(), TOLERANCE)


def cut(answer: RankResponse) -> None:
    """One candidate is missing."""
    answer.ranked.pop()


def shuffle(answer: RankResponse) -> None:
    """The best is not first."""
    answer.ranked.reverse()


def shift(answer: RankResponse) -> None:
    """A prediction is another one."""
    answer.ranked[0].predictions["click"] += 0.01


def forget(answer: RankResponse) -> None:
    """Ranked without the history, and flagged so."""
    answer.history = HistoryInfo(0, "degraded")


@pytest.mark.parametrize("damage", [cut, shuffle, shift, forget])
def test_a_wrong_answer_of_ours_is_noticed(questions: Questions, damage) -> None:  # type: ignore[no-untyped-def]
    """Whatever is wrong with it."""
    answer = right(questions, 1)
    damage(answer)
    with pytest.raises(WrongAnswer, match="ours, request 1"):
        questions.judge_ours(reply(1, answer), TOLERANCE)


def test_a_wrong_answer_of_a_peer_is_noticed(questions: Questions) -> None:
    """Another number, no number, or not as many."""
    logits = questions.reference(0)
    for wrong in (logits + 0.01, logits * np.nan, logits[1:]):
        with pytest.raises(WrongAnswer, match="a peer, request 0"):
            questions.judge_logits("a peer", 0, wrong, TOLERANCE)
