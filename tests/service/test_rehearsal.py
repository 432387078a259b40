"""Rehearsal: small steps that find a wrong ranker out, and choose the best chunk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from model.bundle import BundleError, Manifest, load_golden, read_manifest
from service.chunking import Chunking
from service.encoded import EncodedHistory
from service.errors import InferenceFailed
from service.inputs import CandidateArrays, HistoryArrays
from service.models import Scored
from service.rehearsal import Step, chunk_trials, replays, warm_ups


class Timed:
    """A ranker of zeros, which notes what it is asked; a non-amortized pass of more than 16 candidates is slow."""

    def __init__(self, manifest: Manifest, largest: int = 10**9) -> None:
        self.manifest = manifest
        self.chunking = Chunking(100, 64)
        self.largest = largest
        self.asked: list[tuple[int, int]] = []
        self.extended: list[tuple[int, int]] = []
        self.chunks: set[int] = set()

    def encode(self, history: HistoryArrays, prefix: EncodedHistory | None = None) -> EncodedHistory:
        if prefix is not None:
            self.extended.append((prefix.length, history.length))
        return EncodedHistory(prefix, history.length, 0, 0.0)

    def score(self, encoded: EncodedHistory, candidates: CandidateArrays) -> Scored:
        self.asked.append((encoded.length, candidates.size))
        if candidates.size > self.largest:
            raise InferenceFailed("too many")
        return Scored(np.zeros((candidates.size, len(self.manifest.tasks)), np.float32), 0.0)

    def score_each(self, history: HistoryArrays, candidates: CandidateArrays) -> Scored:
        chunk = self.chunking.non_amortized
        self.chunks.add(chunk)
        passes = -(-candidates.size // chunk)
        return Scored(
            np.zeros((candidates.size, len(self.manifest.tasks)), np.float32),
            passes * (0.002 if chunk <= 16 else 0.052),
        )


@pytest.fixture
def ranker(repository: Path) -> Timed:
    return Timed(read_manifest(repository / "feed" / "1"))


def run(steps: Iterable[Step]) -> None:
    for step in steps:
        step()


def test_every_class_of_shapes_is_run(ranker: Timed) -> None:
    """Cold start, one action, half and whole window; one candidate, a page, a microbatch; each several times."""
    run(warm_ups(ranker))

    assert {length for length, _ in ranker.asked} == {0, 1, 12, 24}
    assert {size for _, size in ranker.asked} == {1, 100, 256}
    assert min(ranker.asked.count(shape) for shape in ranker.asked) >= 2


def test_an_extendable_ranker_rehearses_its_extension_too(ranker: Timed) -> None:
    """By one action and by several, each several times; one that cannot extend is not asked to."""
    run(warm_ups(ranker))
    assert ranker.extended == []
    ranker.manifest = ranker.manifest.model_copy(update={"extendable": True})

    run(warm_ups(ranker))

    assert set(ranker.extended) == {(22, 24), (23, 24)}
    assert min(ranker.extended.count(each) for each in ranker.extended) >= 2


class Forgetful(Timed):
    """Right in all but one thing: what a history is extended by counts for nothing."""

    def score(self, encoded: EncodedHistory, candidates: CandidateArrays) -> Scored:
        scored = super().score(encoded, candidates)
        return scored if encoded.tensors is None else Scored(scored.logits + 0.01, 0.0)


def test_a_wrong_extension_is_found_out(ranker: Timed, repository: Path) -> None:
    """A golden case's history is encoded in two steps as well, and must give the same logits."""
    cases = [case._replace(logits=case.logits * 0) for case in load_golden(repository / "feed" / "1" / "golden.json")]
    manifest = ranker.manifest.model_copy(update={"extendable": True})
    run(replays(Timed(manifest), cases))

    with pytest.raises(BundleError, match="golden logits differ"):
        run(replays(Forgetful(manifest), cases))


def test_the_non_amortized_mode_takes_its_fastest_chunk(ranker: Timed) -> None:
    """A fixed cost a pass argues for large chunks, a full cache for small ones: all are measured."""
    run(chunk_trials(ranker))

    assert ranker.chunks == {2, 4, 8, 16, 32, 64}
    assert ranker.chunking == Chunking(100, 16)


def test_steps_are_short(ranker: Timed) -> None:
    """A step is one pass or one trial, so that a request waits for no more than that."""
    for step in (*warm_ups(ranker), *chunk_trials(ranker)):
        before = len(ranker.asked)
        step()
        assert len(ranker.asked) - before <= 1


def test_wrong_logits_are_refused(ranker: Timed, repository: Path) -> None:
    """Zeros are nobody's golden logits."""
    cases = load_golden(repository / "feed" / "1" / "golden.json")

    with pytest.raises(BundleError, match="golden logits differ"):
        run(replays(ranker, cases))


def test_a_shape_that_fails_refuses_the_bundle(repository: Path) -> None:
    """The golden cases are small: an artifact that fails at its limits is found out before it serves."""
    ranker = Timed(read_manifest(repository / "feed" / "1"), largest=200)

    with pytest.raises(BundleError, match=r"fails on 24 actions and 256 candidates"):
        run(warm_ups(ranker))
