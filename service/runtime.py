"""TorchScriptRanker: a bundle's artifact, verified, loaded, warmed, run on a pool of threads. The only torch file.

TorchScript calls release the GIL, so one process with several inference threads uses every core and shares one cache
of encoded histories. This module does not know requests, members, Redis or what a logit is worth.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import (
    GOLDEN_FILE,
    RANKER_FILE,
    BundleError,
    GoldenCase,
    Manifest,
    check_golden,
    load_golden,
    read_items,
    read_manifest,
    verify,
)
from service.chunking import CHUNKS, FEWEST_A_THREAD, Chunking, passes
from service.encoded import EncodedHistory
from service.errors import InferenceFailed
from service.inputs import CandidateArrays, HistoryArrays
from service.items import Items
from service.models import Ahead, Begun, LoadedModel, Scored, refuse_newer_torch
from service.settings import Settings
from service.spare_threads import SpareThreads, Threads
from service.threads import Cancelled, ThreadPool

log = logging.getLogger(__name__)

_never: Cancelled = bool  # bool() is False
WARM_UP_RUNS = 3  # TorchScript profiles a method's first run and specialises it in the second


class InferencePool(ThreadPool):
    """Threads that run the ranker, each in inference mode and without torch's own parallelism: OpenMP's teams wait for
    each other in every operation (DECISIONS.md). Both are a thread's properties, and so are set in every one."""

    def __init__(self, threads: int, waited: Callable[[float], None] = lambda _: None) -> None:
        modes: list[torch.inference_mode] = []

        def prepare() -> None:
            torch.set_num_threads(1)
            mode = torch.inference_mode()
            mode.__enter__()
            modes.append(mode)  # left by the thread's end alone

        super().__init__(threads, "inference", prepare, waited)


def load_model(directory: Path, pool: InferencePool, settings: Settings) -> LoadedModel:
    """Verify, load, replay and warm the bundle at `directory`; blocks. Raises BundleError naming the file at fault."""
    manifest = read_manifest(directory)
    refuse_newer_torch(manifest, torch.__version__)
    verify(directory, manifest)
    items = Items(read_items(directory, manifest))
    spread = settings.intra_op_threads or settings.inference_threads
    chunking = Chunking(settings.microbatch_size, settings.non_amortized_chunk or CHUNKS[-1], spread)
    ranker = TorchScriptRanker(_load_artifact(directory, manifest), manifest, pool, chunking)
    for case in load_golden(directory / GOLDEN_FILE):
        pool.run(ranker.replay, case)
    pool.run_on_each(ranker.warm_up)
    if settings.non_amortized_chunk is None:
        pool.run(ranker.choose_chunk)
    spare = TorchScriptRanker(ranker._artifact, manifest, SpareThreads(pool), ranker._chunking)
    return LoadedModel(manifest, items, ranker, spare)


class TorchScriptRanker:
    """The `Ranker` of a bundle. Methods are safe to call from many tasks at once: the artifact keeps no state."""

    def __init__(self, artifact: Any, manifest: Manifest, pool: Threads, chunking: Chunking) -> None:
        self._artifact = artifact
        self._manifest = manifest
        self._pool = pool
        self._chunking = chunking
        self._nbytes: dict[int, int] = {}

    def encode_history(self, history: HistoryArrays) -> asyncio.Future[EncodedHistory]:
        return self._pool.submit(self._encode, history)

    def encode_ahead(self, history: HistoryArrays) -> Ahead:
        encoded = self._pool.submit_background(self._encode, history)
        return Ahead(encoded, partial(self._pool.hurry, encoded))

    def encode_and_score(self, history: HistoryArrays, candidates: CandidateArrays) -> Begun:
        both = self._pool.submit_two(
            partial(self._encode, history), lambda encoded, cancelled: self._score(encoded, candidates, cancelled)
        )
        return Begun(*both)

    def score_candidates(self, encoded: EncodedHistory, candidates: CandidateArrays) -> asyncio.Future[Scored]:
        return self._pool.submit_stoppable(self._score, encoded, candidates)

    def score_non_amortized(self, history: HistoryArrays, candidates: CandidateArrays) -> asyncio.Future[Scored]:
        return self._pool.submit_stoppable(self._score_each, history, candidates)

    def explain(self, encoded: EncodedHistory, candidates: CandidateArrays) -> asyncio.Future[NDArray[np.float32]]:
        return self._pool.submit(self._explain, encoded, candidates)

    def replay(self, case: GoldenCase) -> None:
        """Raise BundleError unless both modes give a golden case's logits. Blocks; runs on a pool thread."""
        history = HistoryArrays(case.embeddings, case.actions, case.timestamps)
        candidates = CandidateArrays.blank(self._manifest, len(case.candidates))._replace(
            embeddings=case.candidates,
            features=case.features,
            context=case.context,
            meta=case.meta,
            request_time=case.request_time,
        )
        try:
            amortized = self._score(self._encode(history), candidates, _never).logits
            non_amortized = self._score_each(history, candidates, _never).logits
        except InferenceFailed as error:
            raise BundleError(RANKER_FILE, f"fails on a golden case: {error.__cause__ or error.detail}") from error
        check_golden(case, amortized, self._manifest.golden_tolerance)
        check_golden(case, non_amortized, self._manifest.golden_tolerance)

    def warm_up(self) -> None:
        """Run every class of shapes, largest first, until TorchScript has specialised the artifact and this thread has
        its work space (first runs took 10–40 ms, a thread's own first one 2–6 ms more). Blocks; runs on a thread."""
        longest, limit = self._manifest.max_history, self._manifest.max_candidates
        for length in sorted({0, 1, longest // 2, longest}, reverse=True):
            history = HistoryArrays.blank(self._manifest, length)
            for count in sorted({1, min(limit, 256), min(limit, self._chunking.microbatch)}, reverse=True):
                candidates = CandidateArrays.blank(self._manifest, count)
                for _ in range(WARM_UP_RUNS):
                    self._score(self._encode(history), candidates, _never)
            for count in sorted({1, min(limit, self._chunking.non_amortized)}, reverse=True):
                candidates = CandidateArrays.blank(self._manifest, count)
                for _ in range(WARM_UP_RUNS):
                    self._score_each(history, candidates, _never)

    def choose_chunk(self) -> None:
        """Take the chunk that scores the longest history's candidates fastest: a slow baseline would flatter the
        amortized mode. Small rankers want large chunks, large ones small ones. Blocks; runs on a pool thread."""
        history = HistoryArrays.blank(self._manifest, self._manifest.max_history)
        candidates = CandidateArrays.blank(self._manifest, CHUNKS[-1])
        chosen = self._chunking
        seconds = {}
        for size in CHUNKS:
            self._chunking = chosen._replace(non_amortized=size, threads=1)
            seconds[size] = min(self._score_each(history, candidates, _never).seconds for _ in range(3))
        self._chunking = chosen._replace(non_amortized=min(seconds, key=seconds.__getitem__))

    def _encode(self, history: HistoryArrays) -> EncodedHistory:
        start = time.perf_counter()
        with _failing_typed():
            tensors = self._artifact.encode_history(*_history_tensors(history))
        seconds = time.perf_counter() - start
        nbytes = self._nbytes.get(history.length)
        if nbytes is None:  # it depends on nothing else, and asking every storage takes longer than all else here
            nbytes = sum({storage.data_ptr(): storage.nbytes() for storage in _storages(tensors)}.values())
            self._nbytes[history.length] = nbytes
        return EncodedHistory(tensors, history.length, nbytes, seconds)

    def _score(self, encoded: EncodedHistory, candidates: CandidateArrays, cancelled: Cancelled) -> Scored:
        start = time.perf_counter()
        logits = self._blank_logits(candidates)
        request = _request_tensors(candidates)

        def score(part: slice) -> None:
            _unless(cancelled)
            with _failing_typed():
                scored = self._artifact.score_candidates(
                    encoded.tensors,
                    torch.from_numpy(candidates.embeddings[part])[None],  # [1, c, D]
                    torch.from_numpy(candidates.features[part])[None],  # [1, c, F]
                    *request,
                )
                logits[part] = scored[0].numpy()

        self._spread(score, candidates.size, self._chunking.microbatch, FEWEST_A_THREAD)
        return Scored(_finite(logits), time.perf_counter() - start)

    def _score_each(self, history: HistoryArrays, candidates: CandidateArrays, cancelled: Cancelled) -> Scored:
        """Requests with one candidate each, the history repeated (expanded, not copied)."""
        start = time.perf_counter()
        logits = self._blank_logits(candidates)
        request = _request_tensors(candidates)
        tensors = _history_tensors(history)

        def score(part: slice) -> None:
            _unless(cancelled)
            count = part.stop - part.start
            with _failing_typed():
                scored = self._artifact(
                    *(_repeated(tensor, count) for tensor in tensors),
                    torch.from_numpy(candidates.embeddings[part])[:, None],  # [c, 1, D]
                    torch.from_numpy(candidates.features[part])[:, None],  # [c, 1, F]
                    *(_repeated(tensor, count) for tensor in request),
                )
                logits[part] = scored[:, 0].numpy()

        self._spread(score, candidates.size, self._chunking.non_amortized, 1)
        return Scored(_finite(logits), time.perf_counter() - start)

    def _spread(self, score: Callable[[slice], None], count: int, most: int, fewest: int) -> None:
        """Score in passes, shared with threads that are idle."""
        threads = min(self._chunking.threads, self._pool.idle + 1)
        self._pool.spread(score, passes(count, most, fewest, threads), threads)

    def _explain(self, encoded: EncodedHistory, candidates: CandidateArrays) -> NDArray[np.float32]:
        with _failing_typed():
            attention = self._artifact.explain_candidates(
                encoded.tensors, torch.from_numpy(candidates.embeddings)[None], _request_tensors(candidates)[2]
            )
            result: NDArray[np.float32] = attention[0].numpy()
        return _finite(result)

    def _blank_logits(self, candidates: CandidateArrays) -> NDArray[np.float32]:
        return np.empty((candidates.size, len(self._manifest.tasks)), dtype=np.float32)


class _failing_typed:  # noqa: N801 - reads as what it does; a class, since contextmanager costs more than the pass
    """Turns whatever the artifact raises into InferenceFailed; the text goes to the log, not to the caller."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception):
            log.error("the ranker raised", exc_info=error)
            raise InferenceFailed("the ranker failed on this request") from error


def _unless(cancelled: Cancelled) -> None:
    if cancelled():  # nobody reads the result any more, whatever it is
        raise InferenceFailed("the request was given up")


def _finite(array: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(array).all():
        log.error("the ranker gave a number that is not finite")
        raise InferenceFailed("the ranker gave a score that is not finite")
    return array


def _history_tensors(history: HistoryArrays) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """[1, T, D] f32, [1, T] i64, [1, T] i64 and the mask [1, T] bool, all real."""
    return (
        torch.from_numpy(history.embeddings)[None],
        torch.from_numpy(history.actions)[None],
        torch.from_numpy(history.timestamps)[None],
        torch.ones(1, history.length, dtype=torch.bool),
    )


def _request_tensors(candidates: CandidateArrays) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """context [1, G] f32, meta [1, M] f32, request_time [1] i64."""
    context, meta = torch.from_numpy(candidates.context)[None], torch.from_numpy(candidates.meta)[None]
    return context, meta, torch.tensor([candidates.request_time])


def _repeated(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """[1, …] → [count, …] over the same memory."""
    return tensor.expand(count, *tensor.shape[1:])


def _storages(value: Any) -> Iterator[torch.UntypedStorage]:
    """The storages behind an artifact's tuples and lists of tensors: a view holds the whole of its storage."""
    if isinstance(value, torch.Tensor):
        yield value.untyped_storage()
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _storages(part)


def _load_artifact(directory: Path, manifest: Manifest) -> Any:
    """Load and freeze `ranker.pt`. The bytes that are hashed are the bytes that are loaded."""
    data = (directory / RANKER_FILE).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest.files.get(RANKER_FILE):
        raise BundleError(RANKER_FILE, "changed while it was being loaded")
    methods = ["encode_history", "score_candidates", "explain_candidates"]
    methods += ["extend_history"] if manifest.extendable else []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        try:
            artifact = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()  # type: ignore[no-untyped-call]
            return torch.jit.freeze(artifact, preserved_attrs=methods)
        except Exception as error:  # torch raises RuntimeError, AttributeError and more for a file it cannot use
            raise BundleError(RANKER_FILE, f"cannot be loaded: {error}") from error
