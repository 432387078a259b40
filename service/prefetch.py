"""Prefetching: encode a member's history before its ranking is asked for. A hint, that nothing depends on.

    begun → the history → encoded when a thread can be spared → kept for the ranking that follows

It holds no permit, uses spare threads only, and shares the flights of the encoded-history cache: a ranking that comes
while the work waits for a thread hurries it and waits for the same encoding. What cannot be done soon is dropped and
counted. This module does not know HTTP, Redis, torch or Prometheus.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, Protocol

from service.encoded import EncodedHistory, EncodedHistoryCache, EncodedKey
from service.errors import RankonceError
from service.lookups import HistoryLookup
from service.models import Ahead, LoadedModel
from service.schemas import PrefetchRequest, Surface

PrefetchResult = Literal["encoded", "cached", "absent", "dropped", "failed"]
"""cached: was at hand, or on its way · absent: no history · failed: the store, or the ranker (both have logged it)."""

LONGEST_SECONDS = 1.0
"""A prefetch that found no thread for so long comes too late for its ranking."""

log = logging.getLogger(__name__)


class Models(Protocol):
    def get(self, surface: Surface) -> LoadedModel:
        """The model that answers for `surface` now. Raises ModelUnavailable."""
        ...


class Prefetching:
    """At most `pending` under way at once. `counted` is told what became of each. Event-loop only."""

    def __init__(
        self,
        pending: int,
        models: Models,
        histories: HistoryLookup,
        encoded: EncodedHistoryCache,
        counted: Callable[[PrefetchResult], None],
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self._pending = pending
        self._models = models
        self._histories = histories
        self._encoded = encoded
        self._counted = counted
        self._longest_seconds = longest_seconds
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, request: PrefetchRequest) -> None:
        """Take the hint, if there is room for it. Raises ModelUnavailable."""
        model = self._models.get(request.surface)
        if len(self._under_way) >= self._pending:
            self._counted("dropped")
            return
        task = asyncio.create_task(self._run(model, request.member_id), name="prefetch")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What is under way at the end is dropped."""
        try:
            yield
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _run(self, model: LoadedModel, member_id: str) -> None:
        result: PrefetchResult = "failed"
        try:
            async with asyncio.timeout(self._longest_seconds):
                result = await self._prefetch(model, member_id)
        except (TimeoutError, asyncio.CancelledError):
            result = "dropped"
        except RankonceError:
            pass  # logged where it arose
        except Exception:  # nobody awaits this task
            log.exception("a prefetch failed")
        finally:
            self._counted(result)

    async def _prefetch(self, model: LoadedModel, member_id: str) -> PrefetchResult:
        kept = self._encoded.lookup(model.identity, member_id)
        lookup = await self._histories.read(model, member_id, kept)
        if lookup.source == "degraded":
            return "failed"
        if lookup.result == "absent":
            self._encoded.forget(model.identity, member_id)
            return "absent"
        if lookup.kept is not None:
            self._encoded.hit(model.identity, member_id)  # so that it is not evicted before it is needed
            return "cached"

        ahead: Ahead | None = None

        def encode() -> asyncio.Future[EncodedHistory]:
            nonlocal ahead
            ahead = model.ranker.encode_ahead(lookup.unkept[1], lookup.prefix)
            return ahead.encoded

        def hurry() -> None:
            if ahead is not None:
                ahead.hurry()

        _, encoding = await self._encoded.get(EncodedKey(model.identity, member_id, lookup.version), encode, hurry)
        return "cached" if encoding == "cached" else "encoded"
