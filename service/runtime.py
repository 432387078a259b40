"""TorchScriptRanker: a bundle's artifact, verified, loaded, warmed, run on a pool of threads. The only torch file.

TorchScript calls release the GIL, so one process with several inference threads uses every core and shares one cache
of encoded histories. This module does not know requests, members, Redis or what a logit is worth.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import (
    RANKER_FILE,
    BundleError,
    Manifest,
)
from service.chunking import FEWEST_A_THREAD, Chunking, passes
from service.encoded import EncodedHistory
from service.errors import InferenceFailed
from service.inputs import CandidateArrays, HistoryArrays
from service.models import Ahead, Begun, Scored
from service.spare_threads import Threads
from service.threads import Cancelled, ThreadPool

log = logging.getLogger(__name__)

TORCH_VERSION = str(torch.__version__)
_never: Cancelled = bool  # bool() is False


class InferencePool(ThreadPool):
    """Threads that run the ranker, each in inference mode and without torch's own parallelism: OpenMP's teams wait for
    each other in every operation (DECISIONS.md). All that is set here is a thread's own, and so is set in each.

    niceness: added to each one's, which on Linux is not the process's, since they keep every core busy, and the time
    that the event loop then waits for one is time of every request's.
    """

    def __init__(self, threads: int, waited: Callable[[float], None] = lambda _: None, niceness: int = 0) -> None:
        modes: list[torch.inference_mode] = []

        def prepare() -> None:
            torch.set_num_threads(1)
            os.nice(niceness)
            mode = torch.inference_mode()
            mode.__enter__()
            modes.append(mode)  # left by the thread's end alone

        super().__init__(threads, "inference", prepare, waited)


class TorchScriptRanker:
    """The `Ranker` of a bundle. Methods are safe to call from many tasks at once: the artifact keeps no state."""

    def __init__(self, artifact: Any, manifest: Manifest, pool: Threads, chunking: Chunking) -> None:
        self.artifact = artifact
        self.manifest = manifest
        self._pool = pool
        self.chunking = chunking

    def encode_history(self, history: HistoryArrays) -> asyncio.Future[EncodedHistory]:
        return self._pool.submit(self.encode, history)

    def encode_ahead(self, history: HistoryArrays, prefix: EncodedHistory | None = None) -> Ahead:
        encoded = self._pool.submit_background(self.encode, history, prefix)
        return Ahead(encoded, partial(self._pool.hurry, encoded))

    def encode_and_score(
        self, history: HistoryArrays, candidates: CandidateArrays, prefix: EncodedHistory | None = None
    ) -> Begun:
        both = self._pool.submit_two(
            partial(self.encode, history, prefix),
            lambda encoded, cancelled: self.score(encoded, candidates, cancelled),
            long=candidates.size > self.chunking.microbatch,
        )
        return Begun(*both)

    def score_candidates(self, encoded: EncodedHistory, candidates: CandidateArrays) -> asyncio.Future[Scored]:
        long = candidates.size > self.chunking.microbatch
        return self._pool.submit_stoppable(self.score, encoded, candidates, long=long)

    def score_non_amortized(self, history: HistoryArrays, candidates: CandidateArrays) -> asyncio.Future[Scored]:
        long = candidates.size > self.chunking.non_amortized
        return self._pool.submit_stoppable(self.score_each, history, candidates, long=long)

    def explain(self, encoded: EncodedHistory, candidates: CandidateArrays) -> asyncio.Future[NDArray[np.float32]]:
        return self._pool.submit(self._explain, encoded, candidates)

    def encode(self, history: HistoryArrays, prefix: EncodedHistory | None = None) -> EncodedHistory:
        start = time.perf_counter()
        with _failing_typed():
            if prefix is None or not _begins_with(history, prefix):
                held = _Held.of(_history_tensors(history))
                parts = self.artifact.encode_history(*held.tensors)
            else:
                held = _Held.of(_history_tensors(history.part(slice(prefix.length, None))))
                parts = self.artifact.extend_history(_encoding(prefix).parts, *held.tensors)
        seconds = time.perf_counter() - start
        encoding = _Encoding.of(parts)
        # Each has its memory to itself (test_encoded.py).
        nbytes = sum(tensor.nbytes for tensor in encoding.held.tensors)
        return EncodedHistory(encoding, history.length, nbytes, seconds)

    def score(self, encoded: EncodedHistory, candidates: CandidateArrays, cancelled: Cancelled = _never) -> Scored:
        start = time.perf_counter()
        logits = self._blank_logits(candidates)
        request = _request_tensors(candidates)

        def score(part: slice) -> None:
            _unless(cancelled)
            with _failing_typed():
                embeddings = torch.from_numpy(candidates.embeddings[None, part])  # [1, c, D]
                features = torch.from_numpy(candidates.features[None, part])  # [1, c, F]
                held = _Held.of((embeddings, features, *request))
                scored = self.artifact.score_candidates(_encoding(encoded).parts, *held.tensors)
                logits[part] = scored.numpy()[0]

        given = self._spread(score, candidates.size, self.chunking.microbatch, FEWEST_A_THREAD)
        return Scored(_finite(logits), time.perf_counter() - start - given)

    def score_each(self, history: HistoryArrays, candidates: CandidateArrays, cancelled: Cancelled = _never) -> Scored:
        """Requests with one candidate each, the history repeated (expanded, not copied)."""
        start = time.perf_counter()
        logits = self._blank_logits(candidates)
        request = _request_tensors(candidates)
        tensors = _history_tensors(history)

        def score(part: slice) -> None:
            _unless(cancelled)
            count = part.stop - part.start
            with _failing_typed():
                held = _Held.of(
                    (
                        *(_repeated(tensor, count) for tensor in tensors),
                        torch.from_numpy(candidates.embeddings[part, None]),  # [c, 1, D]
                        torch.from_numpy(candidates.features[part, None]),  # [c, 1, F]
                        *(_repeated(tensor, count) for tensor in request),
                    )
                )
                logits[part] = self.artifact(*held.tensors).numpy()[:, 0]

        given = self._spread(score, candidates.size, self.chunking.non_amortized, 1)
        return Scored(_finite(logits), time.perf_counter() - start - given)

    def _spread(self, score: Callable[[slice], None], count: int, most: int, fewest: int) -> float:
        """Score in passes, shared with threads that are idle. Returns the seconds that were given to other requests."""
        threads = min(self.chunking.threads, self._pool.idle + 1)
        return self._pool.spread(score, passes(count, most, fewest, threads), threads)

    def _explain(self, encoded: EncodedHistory, candidates: CandidateArrays) -> NDArray[np.float32]:
        with _failing_typed():
            attention = self.artifact.explain_candidates(
                _encoding(encoded).parts, torch.from_numpy(candidates.embeddings[None]), _request_tensors(candidates)[2]
            )
            result: NDArray[np.float32] = attention.numpy()[0]
        return _finite(result)

    def _blank_logits(self, candidates: CandidateArrays) -> NDArray[np.float32]:
        return np.empty((candidates.size, len(self.manifest.tasks)), dtype=np.float32)


class _Held(NamedTuple):
    """Tensors that a pass is given, and another owner of them in C++.

    When a pass drops a tensor that only Python has besides, torch takes the interpreter's lock, in the middle of the
    pass, to let its Python object go (c10/util/intrusive_ptr.h, "PyObject preservation"). With the event loop at work
    each of those waits for it, and there are a dozen a request. Torch's own functions let go of the lock as well, and
    wait to have it back: arrays are given their shape by numpy before torch sees them.
    """

    tensors: Sequence[torch.Tensor]
    owner: object

    @classmethod
    def of(cls, tensors: Sequence[torch.Tensor]) -> _Held:
        return cls(tensors, torch._C.ScriptList(list(tensors)))


class _Encoding(NamedTuple):
    """What the artifact gives and takes as an encoded history, held between passes."""

    parts: Any
    held: _Held

    @classmethod
    def of(cls, parts: Any) -> _Encoding:
        keys, values, *others = parts
        return cls(parts, _Held.of([*keys, *values, *others]))


def _encoding(encoded: EncodedHistory) -> _Encoding:
    return cast(_Encoding, encoded.tensors)


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
        torch.from_numpy(history.embeddings[None]),
        torch.from_numpy(history.actions[None]),
        torch.from_numpy(history.timestamps[None]),
        torch.from_numpy(np.ones((1, history.length), dtype=np.bool_)),
    )


def _begins_with(history: HistoryArrays, prefix: EncodedHistory) -> bool:
    """Whether the actions of an encoding happened when the history's first ones did. A log keeps its version when a
    failover takes back acknowledged actions, and may then grow by others."""
    _keys, _values, _mask, timestamps, _lengths = _encoding(prefix).parts  # the interface's order
    return np.array_equal(timestamps[0].numpy(), history.timestamps[: prefix.length])


def _request_tensors(candidates: CandidateArrays) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """context [1, G] f32, meta [1, M] f32, request_time [1] i64."""
    context, meta = torch.from_numpy(candidates.context[None]), torch.from_numpy(candidates.meta[None])
    return context, meta, torch.from_numpy(np.array([candidates.request_time]))


def _repeated(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """[1, …] → [count, …] over the same memory."""
    return tensor.expand(count, *tensor.shape[1:])


def load_artifact(directory: Path, manifest: Manifest) -> Any:
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
