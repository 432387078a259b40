"""ShadowComparison: requests that were answered, run again in both modes, so that the modes meet the same requests.

    chosen by header or by chance → answered → queued → a thread can be spared → one mode, the other → compared

Each run encodes the history for itself: an encoding that was kept would flatter the amortized mode. What was answered
is compared as well, so that a wrong encoding in the cache shows. No run may cost a real request anything: it holds no
permit and uses spare threads (spare_threads.py), which it gives back at the next pass when they are needed. Whatever
cannot be compared is dropped and counted. This module does not know HTTP, torch or Prometheus.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.bundle import Manifest
from service.codec import HistoryVersion
from service.errors import InferenceFailed, InvalidRequest, Unavailable
from service.histories import HistoryStore, Window
from service.inputs import CandidateArrays, HistoryArrays, history_arrays
from service.models import LoadedModel, Scored
from service.ordering import ecpm, order, probabilities, utility
from service.schemas import Mode, Surface
from service.spare_threads import GivenBack

OrderAgreement = Literal["same", "tied", "different"]
DropReason = Literal["queue_full", "busy", "preempted", "history", "stopping"]
"""busy: no thread was free in time · preempted: a request needed the thread · history: cannot be read, or changed."""

HEADER = "X-Rankonce-Shadow"
PARITY_TOLERANCE = 1e-5
"""Of float32; a bundle of reduced precision brings its own."""
QUEUE_LENGTH = 16
LONGEST_WAIT_SECONDS = 10.0
_ROUNDING = 5e-6  # of a score, to 6 significant digits

log = logging.getLogger(__name__)


class Served(NamedTuple):
    """An answered request, as far as running it again takes it. history: None where a kept encoding saved the read.

    logits: [C, K] float32, which the answer was made of
    """

    member_id: str
    model: LoadedModel
    version: HistoryVersion
    history: HistoryArrays | None
    candidates: CandidateArrays
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """One request, run again in both modes.

    seconds: the ranker's own work by mode; a mode that failed is not in it · difference: the largest of any two logits
    of a candidate and task, divided by max(1, |logit|) · order: of the modes' answers; `tied`: only scores that the
    tolerance cannot tell apart are swapped · broken: the difference is beyond the tolerance, or a mode failed
    """

    surface: Surface
    seconds: Mapping[Mode, float]
    difference: float | None
    order: OrderAgreement | None
    broken: bool


class PairObserver(Protocol):
    def compared(self, pair: Pair) -> None: ...

    def dropped(self, reason: DropReason) -> None: ...


class _Dropped(Exception):
    def __init__(self, reason: DropReason) -> None:
        super().__init__(reason)
        self.reason: DropReason = reason


class ShadowComparison:
    """`random`: draws from [0, 1), for the share of requests that are chosen. Event-loop only; one run at a time."""

    def __init__(
        self,
        fraction: float,
        stores: Mapping[str, HistoryStore],
        observer: PairObserver,
        random: Callable[[], float],
        longest_wait: float = LONGEST_WAIT_SECONDS,
    ) -> None:
        self._fraction = fraction
        self._stores = stores
        self._observer = observer
        self._random = random
        self._longest_wait = longest_wait
        self._queue: asyncio.Queue[tuple[Served, float]] = asyncio.Queue(QUEUE_LENGTH)
        self._turned = False

    def chosen(self, header: str | None) -> bool:
        """Whether to compare a request: its header says so, or chance. Raises InvalidRequest."""
        if header is None:
            return self._fraction > 0.0 and self._random() < self._fraction
        if header not in ("0", "1"):
            raise InvalidRequest(HEADER, "must be 0 or 1")
        return header == "1"

    async def offer(self, served: Served) -> None:
        """Compare it when there is time, if there is room in the queue. Call it once the answer is on its way."""
        try:
            self._queue.put_nowait((served, asyncio.get_running_loop().time()))
        except asyncio.QueueFull:
            self._observer.dropped("queue_full")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Compare what is offered while inside; what is left then is dropped."""
        task = asyncio.create_task(self._work(), name="shadow-comparison")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            while not self._queue.empty():
                self._queue.get_nowait()
                self._observer.dropped("stopping")

    async def _work(self) -> None:
        while True:
            served, since = await self._queue.get()
            try:
                self._observer.compared(await self._compare(served, since + self._longest_wait))
            except _Dropped as dropped:
                self._observer.dropped(dropped.reason)
            except asyncio.CancelledError:
                self._observer.dropped("stopping")
                raise
            except Exception:  # a comparison is never a reason to end all further ones
                log.exception("a shadow comparison failed")

    async def _compare(self, served: Served, give_up: float) -> Pair:
        modes: tuple[Mode, Mode] = ("amortized", "non_amortized")
        runs: dict[Mode, Scored] = {}
        try:
            async with asyncio.timeout_at(give_up):
                history = await self._history(served)
                for mode in modes[::-1] if self._turned else modes:
                    with contextlib.suppress(InferenceFailed):  # the runtime has logged it; the pair is broken
                        runs[mode] = await _run(mode, served, history)
        except TimeoutError:
            raise _Dropped("busy") from None
        except GivenBack:
            raise _Dropped("preempted") from None
        self._turned = not self._turned  # so that neither mode always finds the processor's caches warm
        return await asyncio.to_thread(_pair, served, runs)  # a millisecond, with many candidates

    async def _history(self, served: Served) -> HistoryArrays:
        if served.history is not None:
            return served.history
        manifest = served.model.manifest
        try:
            store = self._stores.get(manifest.embedding_version)
            if store is None:  # no model that serves, or did before, reads it any more
                raise _Dropped("history")
            history = await store.get(served.member_id, Window(manifest.max_history, manifest.slack))
            assert history is not None, "only a known version can be unchanged"
            if history.version != served.version:
                raise _Dropped("history")
            return history_arrays(history, manifest)
        except Unavailable:
            raise _Dropped("history") from None


async def _run(mode: Mode, served: Served, history: HistoryArrays) -> Scored:
    """One mode on spare threads, its encoding included."""
    ranker = served.model.spare or served.model.ranker
    if mode == "non_amortized":
        return await ranker.score_non_amortized(history, served.candidates)
    begun = ranker.encode_and_score(history, served.candidates)
    try:
        encoded, scored = await begun.encoded, await begun.scored
    finally:
        begun.scored.cancel()  # nothing to stop, unless this comparison was given up
    return Scored(scored.logits, encoded.seconds + scored.seconds)


def _pair(served: Served, runs: Mapping[Mode, Scored]) -> Pair:
    manifest = served.model.manifest
    seconds = {mode: run.seconds for mode, run in runs.items()}
    if len(runs) < 2:
        return Pair(manifest.surface, seconds, None, None, broken=True)
    amortized, non_amortized = runs["amortized"].logits, runs["non_amortized"].logits
    all_three = np.stack([served.logits, amortized, non_amortized])  # [3, C, K]
    spread = np.ptp(all_three, axis=0) / np.maximum(1.0, np.abs(non_amortized))  # [C, K]
    difference = float(spread.max())
    if not np.isfinite(difference):
        return Pair(manifest.surface, seconds, None, None, broken=True)
    tolerance = PARITY_TOLERANCE if manifest.precision == "fp32" else manifest.golden_tolerance
    return Pair(
        manifest.surface,
        seconds,
        difference,
        _order_agreement(manifest, served.candidates, amortized, non_amortized, tolerance),
        broken=difference > tolerance,
    )


def _order_agreement(
    manifest: Manifest,
    candidates: CandidateArrays,
    one: NDArray[np.float32],
    other: NDArray[np.float32],
    tolerance: float,
) -> OrderAgreement:
    """Whether two sets of logits [C, K] answer in one order."""
    scores, magnitude = _scores(manifest, candidates, one)
    others, _ = _scores(manifest, candidates, other)
    orders = order(scores).order, order(others).order
    if np.array_equal(*orders):
        return "same"
    for values, best_first in ((scores, orders[1]), (others, orders[0])):
        rises = np.diff(values[best_first])  # [C − 1]: by one's scores in the other's order, none is above zero …
        scale = np.maximum(magnitude[best_first][1:], magnitude[best_first][:-1])
        if np.any(rises > 2.0 * (tolerance + _ROUNDING) * scale):  # … or none by more than two scores may be off
            return "different"
    return "tied"


def _scores(
    manifest: Manifest, candidates: CandidateArrays, logits: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What orders [C], and how large its terms are [C]: the weights of a utility may cancel."""
    predictions = probabilities(logits, manifest.tasks)
    if candidates.bids is not None:
        scores = ecpm(predictions, candidates.bids)
        return scores, scores
    return utility(predictions, candidates.weights), utility(predictions, np.abs(candidates.weights))
