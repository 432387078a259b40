"""TorchScriptRanker on real artifacts: parity, isolation, refusal of bad bundles, cancellation."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.bundles import load_model
from service.chunking import Chunking
from service.encoded import EncodedHistory
from service.errors import InferenceFailed
from service.inputs import CandidateArrays, HistoryArrays
from service.models import LoadedModel
from service.runtime import InferencePool, TorchScriptRanker, _Encoding, _Held
from service.settings import Settings

SETTINGS = Settings(microbatch_size=16, non_amortized_chunk=4)


@pytest.fixture(scope="module")
def pool() -> Iterator[InferencePool]:
    pool = InferencePool(threads=2)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def model(repository: Path, pool: InferencePool) -> LoadedModel:
    """The feed bundle, with microbatches of 16 and non-amortized chunks of 4."""
    return load_model(repository / "feed" / "1", pool, SETTINGS)


def history(model: LoadedModel, length: int, seed: int = 0) -> HistoryArrays:
    rng = np.random.default_rng(seed)
    return HistoryArrays(
        model.items.embeddings[rng.integers(0, len(model.items), length)],
        rng.integers(0, len(model.manifest.actions), length),
        1_700_000_000_000 + np.cumsum(rng.integers(0, 3_600_000, length)),
    )


def candidates(model: LoadedModel, size: int, seed: int = 1) -> CandidateArrays:
    rng = np.random.default_rng(seed)
    manifest = model.manifest
    return CandidateArrays.blank(manifest, size)._replace(
        embeddings=model.items.embeddings[rng.integers(0, len(model.items), size)],
        features=rng.standard_normal((size, len(manifest.features)), dtype=np.float32),
        context=rng.standard_normal(len(manifest.context), dtype=np.float32),
        meta=rng.standard_normal(manifest.meta_dim, dtype=np.float32),
        request_time=1_800_000_000_000,
    )


def assert_same(logits: np.ndarray, expected: np.ndarray) -> None:
    """|Δ| ≤ 1e-5 · max(1, |logit|), the house's meaning of parity."""
    assert logits.shape == expected.shape
    assert np.all(np.abs(logits - expected) <= 1e-5 * np.maximum(1.0, np.abs(expected)))


def test_inference_threads_are_nicer_than_whoever_started_them() -> None:
    """So that the event loop has a core as soon as it has something to do; its own niceness stays as it is."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    found: list[int] = []
    pool = InferencePool(threads=2, niceness=3)

    pool.run_on_each(lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))

    pool.close()
    assert found == [min(before + 3, 19)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


SHAPES = [(0, 1), (0, 17), (1, 1), (1, 5), (7, 16), (13, 33), (24, 50)]


@pytest.mark.parametrize(("length", "size"), SHAPES)
async def test_both_modes_and_microbatches_give_the_same_logits(model: LoadedModel, length: int, size: int) -> None:
    """Amortized in microbatches, amortized in one pass, and non-amortized in chunks, at odd shapes and T = 0."""
    ranker = model.ranker
    assert isinstance(ranker, TorchScriptRanker)
    whole = TorchScriptRanker(ranker.artifact, model.manifest, ranker._pool, Chunking(1000, 1000))
    past, those = history(model, length), candidates(model, size)

    split = await ranker.score_candidates(await ranker.encode_history(past), those)
    one_pass = await whole.score_candidates(await whole.encode_history(past), those)
    each = await ranker.score_non_amortized(past, those)

    assert split.logits.dtype == np.float32
    assert split.logits.shape == (size, len(model.manifest.tasks))
    assert_same(split.logits, one_pass.logits)
    assert_same(each.logits, one_pass.logits)


async def test_one_trip_encodes_and_scores_alike(model: LoadedModel) -> None:
    """The same numbers as in two, and an encoding that others can use."""
    past, those = history(model, 9), candidates(model, 20)

    begun = model.ranker.encode_and_score(past, those)
    encoded, scored = await begun.encoded, await begun.scored

    again = await model.ranker.score_candidates(encoded, those)
    np.testing.assert_array_equal(scored.logits, again.logits)
    assert encoded.length == 9


async def test_a_candidate_is_scored_alike_in_any_company_and_order(model: LoadedModel) -> None:
    """Candidate isolation, across microbatch borders too."""
    encoded = await model.ranker.encode_history(history(model, 11))
    those = candidates(model, 40)
    shuffled = np.random.default_rng(5).permutation(40)

    together = (await model.ranker.score_candidates(encoded, those)).logits
    reordered = (await model.ranker.score_candidates(encoded, those.chosen(shuffled))).logits
    alone = (await model.ranker.score_candidates(encoded, those.chosen(np.array([37])))).logits

    assert_same(reordered, together[shuffled])
    assert_same(alone, together[[37]])


async def test_scores_depend_on_the_history(model: LoadedModel) -> None:
    """Two members with different pasts get different logits: parity is not the parity of a constant."""
    those = candidates(model, 5)

    logits = [
        (await model.ranker.score_candidates(await model.ranker.encode_history(history(model, 9, seed)), those)).logits
        for seed in (1, 2)
    ]

    assert np.abs(logits[0] - logits[1]).max() > 1e-2


async def test_an_encoded_history_says_what_it_holds_and_costs(model: LoadedModel) -> None:
    """Length in actions, bytes of all its storages, seconds of work; a value that can be used again."""
    encoded = await model.ranker.encode_history(history(model, 10))

    manifest = model.manifest
    assert encoded.length == 10
    assert encoded.nbytes >= manifest.layers * 2 * 11 * manifest.embedding_dim * 4
    assert encoded.seconds > 0.0
    those = candidates(model, 3)
    first = await model.ranker.score_candidates(encoded, those)
    second = await model.ranker.score_candidates(encoded, those)
    np.testing.assert_array_equal(first.logits, second.logits)
    assert first.seconds > 0.0


async def test_explanations_are_shares_of_attention(model: LoadedModel) -> None:
    """[C, T], none negative, a candidate's shares at most 1; none at all for a cold start."""
    those = candidates(model, 3)

    attention = await model.ranker.explain(await model.ranker.encode_history(history(model, 10)), those)
    cold = await model.ranker.explain(await model.ranker.encode_history(history(model, 0)), those)

    assert attention.shape == (3, 10)
    assert attention.min() >= 0.0
    assert attention.sum(axis=1).max() <= 1.0 + 1e-5
    assert cold.shape == (3, 0)


async def test_every_thread_is_in_inference_mode_and_computes_alone() -> None:
    """Both are thread-local: set once for the process they would not reach the workers."""
    pool = InferencePool(threads=3)
    together = threading.Barrier(3)

    def look() -> tuple[bool, int, int]:
        together.wait(timeout=30)
        return torch.is_inference_mode_enabled(), torch.get_num_threads(), threading.get_ident()

    seen = await asyncio.gather(*(pool.submit(look) for _ in range(3)))
    pool.close()

    assert [(mode, threads) for mode, threads, _ in seen] == [(True, 1)] * 3
    assert len({ident for _, _, ident in seen}) == 3


class CountingArtifact:
    """Counts its passes and holds each until `go`."""

    def __init__(self) -> None:
        self.passes = 0
        self.entered = threading.Event()
        self.go = threading.Event()

    def _logits(self, rows: int) -> torch.Tensor:
        self.passes += 1
        self.entered.set()
        self.go.wait(timeout=30)
        return torch.zeros(rows, 1, 2)

    def __call__(self, embeddings: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return self._logits(len(embeddings))

    def score_candidates(self, _: object, rows: torch.Tensor, *__: torch.Tensor) -> torch.Tensor:
        return self._logits(rows.shape[1])[:, 0][None]


@pytest.mark.parametrize("mode", ["amortized", "non_amortized"])
async def test_a_cancelled_request_stops_between_two_passes(model: LoadedModel, pool: InferencePool, mode: str) -> None:
    """Ten passes were due; after the cancellation the one under way is the last."""
    artifact = CountingArtifact()
    ranker = TorchScriptRanker(artifact, model.manifest, pool, Chunking(4, 4))
    those = candidates(model, 40)
    future = (
        ranker.score_candidates(EncodedHistory(_Encoding((), _Held((), None)), 3, 0, 0.0), those)
        if mode == "amortized"
        else ranker.score_non_amortized(history(model, 3), those)
    )
    await asyncio.to_thread(artifact.entered.wait, 30)

    future.cancel()
    await asyncio.sleep(0)  # the future's callbacks run
    artifact.go.set()
    await asyncio.gather(*(pool.submit(time.sleep, 0.01) for _ in range(2)))  # both threads are free again

    assert artifact.passes == 1


class BrokenArtifact:
    """Raises from every method, with a text that must stay in the log."""

    def __call__(self, *_: object) -> Any:
        raise RuntimeError("secret internals")

    encode_history = score_candidates = explain_candidates = __call__


async def test_an_artifact_that_raises_fails_typed_and_tells_only_the_log(
    model: LoadedModel, pool: InferencePool, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns that the ranker failed, the log learns why."""
    ranker = TorchScriptRanker(BrokenArtifact(), model.manifest, pool, Chunking(4, 4))
    past, those = history(model, 3), candidates(model, 3)
    encoded = EncodedHistory((), 3, 0, 0.0)

    for call in (
        lambda: ranker.encode_history(past),
        lambda: ranker.encode_and_score(past, those).encoded,
        lambda: ranker.score_candidates(encoded, those),
        lambda: ranker.score_non_amortized(past, those),
        lambda: ranker.explain(encoded, those),
    ):
        with pytest.raises(InferenceFailed) as failed:
            await call()
        assert "secret" not in failed.value.detail

    assert "secret internals" in caplog.text


async def test_a_score_that_is_not_finite_fails_the_request(model: LoadedModel, pool: InferencePool) -> None:
    """NaN from one candidate's inputs is caught before anything is ordered, in both modes."""
    ranker = model.ranker
    those = candidates(model, 20)
    those.features[18, 0] = np.nan
    past = history(model, 3)

    with pytest.raises(InferenceFailed):
        await ranker.score_candidates(await ranker.encode_history(past), those)
    with pytest.raises(InferenceFailed):
        await ranker.score_non_amortized(past, those)
