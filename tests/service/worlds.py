"""A ranking service with everything around it that a test may turn: fake rankers, a store that can fail, a cache."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bundle import Surface, read_items, read_manifest
from service.admission import Admission
from service.codec import encode_records
from service.encoded import EncodedHistoryCache
from service.errors import ModelUnavailable
from service.items import Items
from service.lookups import HistoryLookup
from service.models import LoadedModel
from service.ranking import Ranking, RankingService
from service.schemas import Candidate, RankRequest
from service.settings import Settings
from tests.fakes import FailingStore, FakeRanker, RecordingObserver

NOW = 1_700_000_000_000


class Models(dict[Surface, LoadedModel]):
    def get(self, surface: Surface) -> LoadedModel:  # type: ignore[override]
        if surface not in self:
            raise ModelUnavailable(surface)
        return self[surface]


@dataclass
class World:
    """A service and everything around it that a test may turn."""

    service: RankingService
    models: Models
    ranker: FakeRanker
    store: FailingStore
    cache: EncodedHistoryCache
    observer: RecordingObserver
    admission: Admission
    model: LoadedModel
    lookup: HistoryLookup

    async def rank(self, count: int = 3, surface: Surface = "feed", member_id: str = "bob", **fields: Any) -> Ranking:
        bid = 1.0 if surface == "ads" else None
        candidates = [Candidate(f"item-{i}", bid=bid) for i in range(1, count + 1)]
        return await self.service.rank(RankRequest(member_id, surface, candidates, **fields), "request-1")

    async def act(self, *rows: int, member_id: str = "bob") -> None:
        """Append actions on these items."""
        embeddings = self.model.items.embeddings16[list(rows)]
        await self.store.append(member_id, encode_records(rows, [0] * len(rows), [NOW] * len(rows), embeddings), None)


def build_world(repository: Path, cache_bytes: int = 1 << 20, extendable: bool = False, **settings: Any) -> World:
    """A world around the repository's manifests and items, with settings of the test's choice."""
    models = Models()
    for surface in ("feed", "ads"):
        manifest = read_manifest(repository / surface / "1").model_copy(update={"extendable": extendable})
        items = Items(read_items(repository / surface / "1", manifest))
        models[surface] = LoadedModel(manifest, items, FakeRanker(len(manifest.tasks)))
    model = models["feed"]
    assert isinstance(model.ranker, FakeRanker)
    store = FailingStore(model.manifest.embedding_dim, model.manifest.max_history)
    cache, observer = EncodedHistoryCache(cache_bytes), RecordingObserver()
    chosen = Settings(**settings)
    admission = Admission.from_settings(chosen)
    stores = {model.manifest.embedding_version: store}
    lookup = HistoryLookup(stores, chosen.on_history_failure)
    service = RankingService(chosen, models, lookup, cache, admission, observer, lambda: NOW)
    return World(service, models, model.ranker, store, cache, observer, admission, model, lookup)


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)
