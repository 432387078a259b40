"""What our service is asked beside its peers, as tensors for them, and whether an answer is right.

Members return with Zipf's law, as in the load tests (README.md here). Ours gets a member and item ids as JSON; what it
would read for them from its store and its item table becomes the peers' tensors, made by the service's own code. It
does not know how anything is served or timed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtests.bench_bundles import NAMESPACE, Bundle
from loadtests.peers.artifact import Artifact
from loadtests.peers.closed_loop import Ask, Reply, request
from loadtests.peers.tensors import Inputs
from model.bundle import RANKER_FILE
from service.codec import MemberHistory
from service.histories import Window
from service.inputs import candidate_arrays, history_arrays
from service.items import Items
from service.ordering import probabilities
from service.redis_histories import RedisHistoryStore
from service.schemas import RankRequest, RankResponse

ZIPF_EXPONENT = 1.0
PATH = "/v1/rank"
_COLD = b',"reuse_encoding":false}'
_TIMEOUT_MS = 5000.0


class WrongAnswer(Exception):
    """What differs from the reference, and whose it is."""


class Demand(NamedTuple):
    """members: who have a history · requests: of them, drawn by Zipf's law"""

    members: int
    requests: int


class Questions:
    """One shape's requests. Histories are written to the store at `url` at once."""

    def __init__(self, bundle: Bundle, url: str, demand: Demand, seed: int = 1) -> None:
        self.bundle = bundle
        self._url = url
        self._items = Items(bundle.items)
        self._artifact = Artifact(bundle.repository / "feed" / "1" / RANKER_FILE)
        members = asyncio.run(bundle.store_members(url, demand.members))
        weights = 1.0 / np.arange(1, demand.members + 1) ** ZIPF_EXPONENT
        drawn = np.random.default_rng(seed).choice(demand.members, demand.requests, p=weights / weights.sum())
        self._members = [members[index] for index in drawn]
        self._bodies = [bundle.body(member) for member in self._members]
        self.reference = lru_cache(maxsize=None)(self._reference)

    def zipf(self) -> Iterator[Ask]:
        """As members ask: a returning one's encoded history may be kept. Endless."""
        return itertools.cycle([_ask(index, body) for index, body in enumerate(self._bodies)])

    def cold(self) -> Iterator[Ask]:
        """The same, every history encoded anew. Endless."""
        return itertools.cycle([_ask(index, body[:-1] + _COLD) for index, body in enumerate(self._bodies)])

    def warming(self) -> Iterator[Ask]:
        """The same members in the same order, one candidate each: brings a cache to where this traffic keeps it."""
        return (_ask(index, self.bundle.body(member, 1)) for index, member in enumerate(self._members))

    def inputs(self, index: int) -> Inputs:
        """What the service makes of this request."""
        asked = msgspec.json.decode(self._bodies[index], type=RankRequest)
        manifest = self.bundle.manifest
        candidates = candidate_arrays(asked, manifest, self._items, 0, manifest.max_candidates)
        history = history_arrays(asyncio.run(self._history(asked.member_id)), manifest)
        return Inputs(
            actions=history.actions,
            timestamps=history.timestamps,
            request_time=np.array([candidates.request_time]),
            history=history.embeddings,
            candidates=candidates.embeddings,
            features=candidates.features,
            context=candidates.context,
            meta=candidates.meta,
        )

    def judge_ours(self, reply: Reply, tolerance: float) -> None:
        """Every candidate once, best first, with the reference's probabilities and the whole history. WrongAnswer."""
        answer = msgspec.json.decode(reply.body, type=RankResponse)
        asked = msgspec.json.decode(self._bodies[reply.index], type=RankRequest)
        if answer.history.length != self.bundle.shape.history or answer.history.source not in ("store", "cache"):
            raise WrongAnswer(f"ours, request {reply.index}: {answer.history}")
        by_id = {candidate.id: list(candidate.predictions.values()) for candidate in answer.ranked}
        if len(answer.ranked) != len(asked.candidates) or set(by_id) != {each.id for each in asked.candidates}:
            raise WrongAnswer(f"ours, request {reply.index}: not every candidate once")
        scores = np.array([candidate.score for candidate in answer.ranked])
        if (np.diff(scores) > 0).any():
            raise WrongAnswer(f"ours, request {reply.index}: not best first")
        expected = probabilities(self.reference(reply.index), self.bundle.manifest.tasks)
        given = np.array([by_id[candidate.id] for candidate in asked.candidates])
        self._compare("ours", reply.index, given, expected, tolerance)

    def judge_logits(self, peer: str, index: int, logits: NDArray[np.generic], tolerance: float) -> None:
        """A peer's answer to `inputs(index)`, [C, K] or flat. Raises WrongAnswer."""
        expected = self.reference(index)
        given = logits.reshape(expected.shape) if logits.size == expected.size else logits
        self._compare(peer, index, given, expected, tolerance)

    @staticmethod
    def _compare(
        peer: str, index: int, given: NDArray[np.generic], expected: NDArray[np.generic], tolerance: float
    ) -> None:
        if given.shape != expected.shape:
            raise WrongAnswer(f"{peer}, request {index}: {given.shape} where {expected.shape} was expected")
        furthest = float((np.abs(given - expected) / np.maximum(1.0, np.abs(expected))).max())
        if not furthest <= tolerance:
            raise WrongAnswer(f"{peer}, request {index}: off by {furthest:.2g}")

    def _reference(self, index: int) -> NDArray[np.float32]:
        return self._artifact.logits(self.inputs(index))

    async def _history(self, member: str) -> MemberHistory:
        manifest = self.bundle.manifest
        store = RedisHistoryStore(
            self._url, NAMESPACE, manifest.embedding_version, manifest.embedding_dim, manifest.max_history, _TIMEOUT_MS
        )
        try:
            history = await store.get(member, Window(manifest.max_history, manifest.slack))
        finally:
            await store.close()
        assert history is not None, "only a known version can be unchanged"
        return history


def _ask(index: int, body: bytes) -> Ask:
    return Ask(index, request(PATH, "application/json", body))
