"""RankingService: one ranking request, from permit to answer. Reads as the algorithm.

    permit → history → inputs → encode once → score every candidate → order → answer

It does not know tensors, HTTP, Redis or Prometheus: each has a part of its own, given to the constructor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from service.admission import Admission, Work
from service.answers import Answer, explain, rank_candidates
from service.codec import HistoryVersion
from service.encoded import Cached, EncodedHistory, EncodedHistoryCache, EncodedKey
from service.inputs import CandidateArrays, candidate_arrays
from service.lookups import HistoryLookup, Lookup
from service.models import Begun, LoadedModel, Scored
from service.observation import Encoding, RankObservation, RankObserver
from service.schemas import HistoryInfo, Mode, ModelRef, RankRequest, RankResponse, Surface
from service.settings import Settings
from service.shadow import Served
from service.stages import StageClock

_COLD_START = ("", HistoryVersion(0, 0))  # every member without a history has the same encoding


class Models(Protocol):
    def get(self, surface: Surface) -> LoadedModel:
        """The model that answers for `surface` now. Raises ModelUnavailable."""
        ...


class Ranking(NamedTuple):
    """The answer, where its time went, and what running the request again would need."""

    response: RankResponse
    clock: StageClock
    served: Served


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class RankingService:
    """Both inference modes. Event-loop only; the ranker's work happens wherever the ranker awaits it."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        histories: HistoryLookup,
        encoded: EncodedHistoryCache,
        admission: Admission,
        observer: RankObserver,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        self._settings = settings
        self._models = models
        self._histories = histories
        self._encoded = encoded
        self._admission = admission
        self._observer = observer
        self._now_ms = now_ms

    async def rank(self, request: RankRequest, request_id: str, give_up: float | None = None) -> Ranking:
        """Rank the request's candidates. Raises only RankonceError (and cancellation).

        give_up: the event loop's time after which the caller has no use for the answer
        """
        mode = request.mode or self._settings.default_mode
        seen = RankObservation(request.surface, mode, len(request.candidates))
        try:
            model = self._models.get(request.surface)
            seen.model_version = model.manifest.version
            work = _work(model, mode, len(request.candidates))
            async with self._admission.admit(mode, work, give_up):
                response, served = await self._answer(request, request_id, model, mode, seen)
            seen.succeed()
            if seen.inference_seconds is not None:
                self._admission.took(mode, work, seen.inference_seconds)
            return Ranking(response, seen.clock, served)
        except BaseException as error:
            seen.fail(error)
            raise
        finally:
            seen.end()
            self._observer.ranked(seen)

    async def _answer(
        self, request: RankRequest, request_id: str, model: LoadedModel, mode: Mode, seen: RankObservation
    ) -> tuple[RankResponse, Served]:
        with seen.clock.stage("history"):
            kept = self._kept(request, mode, model)
            lookup = await self._histories.read(model, request.member_id, kept)
        seen.lookup, seen.history_length = lookup.result, lookup.length

        with seen.clock.stage("assemble"):
            candidates = candidate_arrays(
                request, model.manifest, model.items, self._now_ms(), self._settings.max_candidates
            )

        if mode == "amortized":
            encoded, scored = await self._score_amortized(request, model, lookup, candidates, seen)
            seen.inference_seconds = scored.seconds + (0.0 if seen.encoding == "cached" else encoded.seconds)
        else:
            encoded, scored = None, await self._score_non_amortized(model, lookup, candidates, seen)
            seen.inference_seconds = scored.seconds

        with seen.clock.stage("order"):
            answer = rank_candidates(request, model.manifest, candidates, scored.logits)
        if request.explain is not None:
            await self._explain(request.explain, model, lookup, encoded, candidates, answer)

        response = RankResponse(
            request_id=request_id,
            model=ModelRef(model.manifest.name, model.manifest.version),
            mode=mode,
            history=HistoryInfo(seen.history_length, lookup.source),
            ranked=answer.ranked,
        )
        return response, Served(request.member_id, model, lookup.version, lookup.arrays, candidates, scored.logits)

    def _kept(self, request: RankRequest, mode: Mode, model: LoadedModel) -> Cached | None:
        """An encoding that would save reading the history, if the store confirms its version, or can be extended.

        Held from here on, so that an eviction meanwhile does not matter. An explanation needs the actions themselves.
        """
        if mode == "non_amortized" or not request.reuse_encoding or request.explain is not None:
            return None
        return self._encoded.lookup(model.identity, request.member_id)

    async def _score_amortized(
        self,
        request: RankRequest,
        model: LoadedModel,
        lookup: Lookup,
        candidates: CandidateArrays,
        seen: RankObservation,
    ) -> tuple[EncodedHistory, Scored]:
        """Encode once, or take or extend what is encoded already; then score. If it is this request that encodes, one
        trip to an inference thread does both, and the encoding is shared as soon as it is there."""
        begun: Begun | None = None

        def encode() -> asyncio.Future[EncodedHistory]:
            nonlocal begun
            begun = model.ranker.encode_and_score(lookup.unkept[1], candidates, lookup.prefix)
            return begun.encoded

        try:
            with seen.clock.stage("encode"):
                encoded, seen.encoding = await self._encoding(request, model, lookup, encode)
            with seen.clock.stage("score"):
                scoring = begun.scored if begun else model.ranker.score_candidates(encoded, candidates)
                scored = await scoring
            if begun:  # the event loop may have woken for the encoding only when the scores were there as well
                seen.clock.at_least("score", scored.seconds, taken_from="encode")
            return encoded, scored
        finally:
            if begun:
                begun.scored.cancel()  # nothing to stop, unless this request has failed or was given up

    async def _encoding(
        self,
        request: RankRequest,
        model: LoadedModel,
        lookup: Lookup,
        encode: Callable[[], asyncio.Future[EncodedHistory]],
    ) -> tuple[EncodedHistory, Encoding]:
        if lookup.kept is not None:
            self._encoded.hit(model.identity, request.member_id)
            return lookup.kept, "cached"
        if not request.reuse_encoding:
            return await encode(), "computed"
        if lookup.result == "absent":  # what is left of an erased member
            self._encoded.forget(model.identity, request.member_id)
        member, version = (request.member_id, lookup.version) if lookup.length else _COLD_START
        encoded, how = await self._encoded.get(EncodedKey(model.identity, member, version), encode)
        return encoded, "extended" if how == "computed" and lookup.prefix is not None else how

    async def _score_non_amortized(
        self, model: LoadedModel, lookup: Lookup, candidates: CandidateArrays, seen: RankObservation
    ) -> Scored:
        with seen.clock.stage("score"):
            return await model.ranker.score_non_amortized(lookup.unkept[1], candidates)

    async def _explain(
        self,
        count: int,
        model: LoadedModel,
        lookup: Lookup,
        encoded: EncodedHistory | None,
        candidates: CandidateArrays,
        answer: Answer,
    ) -> None:
        """Add the explanations. The non-amortized mode has no encoded history: one is made, for this alone."""
        history, arrays = lookup.unkept
        if encoded is None:
            encoded = await model.ranker.encode_history(arrays)
        attention = await model.ranker.explain(encoded, candidates.chosen(answer.chosen))
        explain(answer.ranked, attention, count, history, model.manifest, model.items)


def _work(model: LoadedModel, mode: Mode, candidates: int) -> Work:
    """Both modes are linear in the candidates. An encoding costs about as much as half its length in candidates does:
    of the last of two layers only keys and values are computed (DECISIONS.md)."""
    encoding = model.manifest.max_history / 2 if mode == "amortized" else 0.0
    return Work(model.manifest.surface, candidates + encoding)
