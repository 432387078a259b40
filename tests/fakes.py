"""Fakes of the service's own seams: small working implementations, not mocks.

A fake lives here when the real part cannot show what a test must see (a ranker that waits, a store that fails).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.codec import HistoryVersion, MemberHistory
from service.encoded import EncodedHistory
from service.histories import InMemoryHistoryStore, Window
from service.inputs import CandidateArrays, HistoryArrays
from service.models import Ahead, Begun, Scored
from service.observation import RankObservation


class FakeRanker:
    """A ranker without torch: a candidate's logit is its dot product with the sum of the history's embeddings.

    encoded, scored, non_amortized: how many calls of each were begun; extended: by how many actions each encoding
    that was given a prefix extended it; hurried: how many encodings ahead were. `gate`
    holds every call until it is set; `error` is raised by every call.
    """

    def __init__(self, tasks: int = 1) -> None:
        self.tasks = tasks
        self.encoded = 0
        self.scored = 0
        self.non_amortized = 0
        self.hurried = 0
        self.extended: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def encode_history(self, history: HistoryArrays, prefix: EncodedHistory | None = None) -> EncodedHistory:
        self.encoded += 1
        if prefix is not None:
            self.extended.append(history.length - prefix.length)
        await self._pass()
        if prefix is None:
            return EncodedHistory(history.embeddings.sum(axis=0), history.length, 4096, 0.25)
        assert isinstance(prefix.tensors, np.ndarray)
        new = history.embeddings[prefix.length :]
        return EncodedHistory(prefix.tensors + new.sum(axis=0), history.length, 4096, 0.125)

    def encode_ahead(self, history: HistoryArrays, prefix: EncodedHistory | None = None) -> Ahead:
        def hurry() -> None:
            self.hurried += 1

        return Ahead(asyncio.ensure_future(self.encode_history(history, prefix)), hurry)

    def encode_and_score(
        self, history: HistoryArrays, candidates: CandidateArrays, prefix: EncodedHistory | None = None
    ) -> Begun:
        encoding = asyncio.ensure_future(self.encode_history(history, prefix))

        async def score() -> Scored:
            return await self.score_candidates(await asyncio.shield(encoding), candidates)

        scoring = asyncio.ensure_future(score())
        scoring.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # whoever waits has it from encoding
        return Begun(encoding, scoring)

    async def score_candidates(self, encoded: EncodedHistory, candidates: CandidateArrays) -> Scored:
        self.scored += 1
        await self._pass()
        assert isinstance(encoded.tensors, np.ndarray)
        return Scored(self._logits(encoded.tensors, candidates), 0.5)

    async def score_non_amortized(self, history: HistoryArrays, candidates: CandidateArrays) -> Scored:
        self.non_amortized += 1
        await self._pass()
        return Scored(self._logits(history.embeddings.sum(axis=0), candidates), 0.75)

    async def explain(self, encoded: EncodedHistory, candidates: CandidateArrays) -> NDArray[np.float32]:
        """The newest action draws most."""
        await self._pass()
        shares = np.arange(1, encoded.length + 1, dtype=np.float32)
        return np.tile(shares / max(1.0, float(shares.sum())), (candidates.size, 1))

    async def _pass(self) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    def _logits(self, history: NDArray[np.float32], candidates: CandidateArrays) -> NDArray[np.float32]:
        return np.repeat((candidates.embeddings @ history)[:, None], self.tasks, axis=1).astype(np.float32)


class FailingStore(InMemoryHistoryStore):
    """An in-memory store whose reads raise `error` while there is one. reads: how many were asked for."""

    def __init__(self, embedding_dim: int, max_history: int) -> None:
        super().__init__(embedding_dim, max_history)
        self.error: Exception | None = None
        self.reads = 0
        self.before_read: Callable[[], None] = lambda: None

    async def get(self, member_id: str, window: Window, known: HistoryVersion | None = None) -> MemberHistory | None:
        self.reads += 1
        self.before_read()
        if self.error is not None:
            raise self.error
        return await super().get(member_id, window, known)


class RecordingObserver:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[RankObservation] = []

    def ranked(self, observation: RankObservation) -> None:
        self.seen.append(observation)

    @property
    def last(self) -> RankObservation:
        return self.seen[-1]
