"""Rehearsal: what a ranker does before it serves: golden cases replayed, every shape run, the best chunk measured.

It comes as many small steps, each one pass long, so that a bundle can be rehearsed on the threads that rank meanwhile.
It does not know torch, threads, or where the bundle came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from model.bundle import RANKER_FILE, BundleError, GoldenCase, Manifest, check_golden
from service.chunking import CHUNKS, Chunking
from service.encoded import EncodedHistory
from service.errors import InferenceFailed
from service.inputs import CandidateArrays, HistoryArrays
from service.models import Scored

WARM_UP_RUNS = 3  # TorchScript profiles a method's first run and specialises it in the second
CHUNK_RUNS = 3
Step = Callable[[], object]
"""Blocks for about one pass; runs on an inference thread. Raises BundleError."""


class Rehearsed(Protocol):
    """A loaded ranker whose methods block, and raise InferenceFailed."""

    manifest: Manifest
    chunking: Chunking

    def encode(self, history: HistoryArrays, prefix: EncodedHistory | None = None) -> EncodedHistory: ...

    def score(self, encoded: EncodedHistory, candidates: CandidateArrays) -> Scored: ...

    def score_each(self, history: HistoryArrays, candidates: CandidateArrays) -> Scored: ...


def replays(ranker: Rehearsed, cases: Sequence[GoldenCase]) -> Iterator[Step]:
    """Both modes must give each golden case's logits, and so must an extended history."""
    for case in cases:
        yield partial(_replay, ranker, case)


def warm_ups(ranker: Rehearsed) -> Iterator[Step]:
    """Every class of shapes, largest first, until TorchScript has specialised the artifact and the thread has its work
    space (first runs took 10–40 ms, a thread's own first one 2–6 ms more)."""
    longest, limit = ranker.manifest.max_history, ranker.manifest.max_candidates
    amortized = {1, min(limit, 256), min(limit, ranker.chunking.microbatch)}
    non_amortized = {1, min(limit, ranker.chunking.non_amortized)}
    for length in sorted({0, 1, longest // 2, longest}, reverse=True):
        for count in sorted(amortized, reverse=True):
            yield from [partial(_run, ranker, length, count)] * WARM_UP_RUNS
        for count in sorted(non_amortized, reverse=True):
            yield from [partial(_run_each, ranker, length, count)] * WARM_UP_RUNS
    for new in (2, 1) if ranker.manifest.extendable and longest > 1 else ():
        yield from [partial(_extend, ranker, longest, new)] * WARM_UP_RUNS


def chunk_trials(ranker: Rehearsed) -> Iterator[Step]:
    """After the last step the ranker has the chunk that scores the longest history's candidates fastest: a slow
    baseline would flatter the amortized mode. Small rankers want large chunks, large ones small ones."""
    asked = ranker.chunking
    seconds: dict[int, float] = {}

    def try_out(size: int) -> None:
        ranker.chunking = asked._replace(non_amortized=size, threads=1)
        took = _run_each(ranker, ranker.manifest.max_history, CHUNKS[-1]).seconds
        seconds[size] = min(took, seconds.get(size, took))

    def choose() -> None:
        ranker.chunking = asked._replace(non_amortized=min(seconds, key=seconds.__getitem__))

    for size in CHUNKS:
        yield from [lambda size=size: try_out(size)] * CHUNK_RUNS
    yield choose


def _replay(ranker: Rehearsed, case: GoldenCase) -> None:
    history = HistoryArrays(case.embeddings, case.actions, case.timestamps)
    candidates = CandidateArrays.blank(ranker.manifest, len(case.candidates))._replace(
        embeddings=case.candidates,
        features=case.features,
        context=case.context,
        meta=case.meta,
        request_time=case.request_time,
    )
    try:
        amortized = ranker.score(ranker.encode(history), candidates).logits
        non_amortized = ranker.score_each(history, candidates).logits
        extended = ranker.score(_in_two_steps(ranker, history, history.length // 2), candidates).logits
    except InferenceFailed as error:
        raise BundleError(RANKER_FILE, f"fails on a golden case: {error.__cause__ or error.detail}") from error
    check_golden(case, amortized, ranker.manifest.golden_tolerance)
    check_golden(case, non_amortized, ranker.manifest.golden_tolerance)
    check_golden(case, extended, ranker.manifest.golden_tolerance)


def _in_two_steps(ranker: Rehearsed, history: HistoryArrays, first: int) -> EncodedHistory:
    """The history encoded from its first actions on; at once, where the ranker cannot extend."""
    prefix = ranker.encode(history.part(slice(first))) if ranker.manifest.extendable else None
    return ranker.encode(history, prefix)


def _extend(ranker: Rehearsed, length: int, new: int) -> None:
    try:
        _in_two_steps(ranker, HistoryArrays.blank(ranker.manifest, length), length - new)
    except InferenceFailed as error:
        raise _unfit(length, 0) from error


def _run(ranker: Rehearsed, length: int, count: int) -> None:
    candidates = CandidateArrays.blank(ranker.manifest, count)
    try:
        ranker.score(ranker.encode(HistoryArrays.blank(ranker.manifest, length)), candidates)
    except InferenceFailed as error:
        raise _unfit(length, count) from error


def _run_each(ranker: Rehearsed, length: int, count: int) -> Scored:
    try:
        return ranker.score_each(
            HistoryArrays.blank(ranker.manifest, length), CandidateArrays.blank(ranker.manifest, count)
        )
    except InferenceFailed as error:
        raise _unfit(length, count) from error


def _unfit(length: int, count: int) -> BundleError:
    return BundleError(RANKER_FILE, f"fails on {length} actions and {count} candidates")
