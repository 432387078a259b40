"""RankingService: the request's path, with a fake ranker, an in-memory store, and none of the frameworks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.bundle import Surface, read_items, read_manifest
from service.admission import Admission
from service.codec import encode_records
from service.encoded import EncodedHistoryCache
from service.errors import (
    DeadlineExceeded,
    HistoryDamaged,
    InferenceFailed,
    InvalidRequest,
    ModelUnavailable,
    Overloaded,
    StoreUnavailable,
)
from service.items import Items
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
    ranker: FakeRanker
    store: FailingStore
    cache: EncodedHistoryCache
    observer: RecordingObserver
    admission: Admission
    model: LoadedModel

    async def rank(self, count: int = 3, surface: Surface = "feed", member_id: str = "bob", **fields: Any) -> Ranking:
        bid = 1.0 if surface == "ads" else None
        candidates = [Candidate(f"item-{i}", bid=bid) for i in range(1, count + 1)]
        return await self.service.rank(RankRequest(member_id, surface, candidates, **fields), "request-1")

    async def act(self, *rows: int, member_id: str = "bob") -> None:
        """Append actions on these items."""
        embeddings = self.model.items.embeddings16[list(rows)]
        await self.store.append(member_id, encode_records(rows, [0] * len(rows), [NOW] * len(rows), embeddings), None)


Build = Callable[..., World]


@pytest.fixture
def build(repository: Path) -> Build:
    """A world with settings of the test's choice."""

    def make(cache_bytes: int = 1 << 20, **settings: Any) -> World:
        models = Models()
        for surface in ("feed", "ads"):
            manifest = read_manifest(repository / surface / "1")
            items = Items(read_items(repository / surface / "1", manifest))
            models[surface] = LoadedModel(manifest, items, FakeRanker(len(manifest.tasks)))
        model = models["feed"]
        assert isinstance(model.ranker, FakeRanker)
        store = FailingStore(model.manifest.embedding_dim, model.manifest.max_history)
        cache, observer = EncodedHistoryCache(cache_bytes), RecordingObserver()
        chosen = Settings(**settings)
        admission = Admission.from_settings(chosen)
        stores = {model.manifest.embedding_version: store}
        service = RankingService(chosen, models, stores, cache, admission, observer, lambda: NOW)
        return World(service, model.ranker, store, cache, observer, admission, model)

    return make


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_request_is_answered_with_model_mode_history_and_ranking(build: Build) -> None:
    """Everything the answer promises, and a clock that passed every stage."""
    world = build()
    await world.act(5, 6)

    response, clock = await world.rank(limit=2)

    assert (response.request_id, response.mode) == ("request-1", "amortized")
    assert (response.model.name, response.model.version) == ("feed", "1")
    assert (response.history.length, response.history.source) == (2, "store")
    assert [r.rank for r in response.ranked] == [1, 2]
    assert list(clock.seconds) == ["history", "assemble", "encode", "score", "order"]


async def test_both_modes_give_one_ranking_and_only_one_of_them_encodes(build: Build) -> None:
    """The non-amortized mode is asked for in its own way and passes no encode stage."""
    world = build()
    await world.act(5, 6)

    amortized = await world.rank()
    baseline = await world.rank(mode="non_amortized")

    assert [(r.id, r.score) for r in baseline.response.ranked] == [(r.id, r.score) for r in amortized.response.ranked]
    assert baseline.response.mode == "non_amortized"
    assert list(baseline.clock.seconds) == ["history", "assemble", "score", "order"]
    assert (world.ranker.encoded, world.ranker.non_amortized) == (1, 1)


async def test_an_unchanged_history_is_neither_read_nor_encoded_again(build: Build) -> None:
    """The second request comes from the cache, with the same answer."""
    world = build()
    await world.act(5, 6)

    first = await world.rank()
    second = await world.rank()

    assert second.response.history.source == "cache"
    assert second.response.history.length == 2
    assert second.response.ranked == first.response.ranked
    assert world.ranker.encoded == 1
    assert world.observer.last.encoding == "cached"
    assert world.cache.counts["hit"] == 1


async def test_a_new_event_is_seen_by_the_next_request(build: Build) -> None:
    """The kept encoding is of another version, and so is not used."""
    world = build()
    await world.act(5)
    before = await world.rank()

    await world.act(7)
    after = await world.rank()

    assert after.response.history.length == 2
    assert after.response.history.source == "store"
    assert after.response.ranked != before.response.ranked
    assert world.ranker.encoded == 2


async def test_an_erased_member_leaves_no_encoding_behind(build: Build) -> None:
    """After the erasure the member is a stranger, and the cache holds nothing of theirs."""
    world = build()
    await world.act(5)
    await world.rank()

    await world.store.erase("bob")
    after = await world.rank()

    assert after.response.history.source == "cold_start"
    assert world.cache.lookup(world.model.identity, "bob") is None


async def test_all_cold_starts_share_one_encoding(build: Build) -> None:
    """A thousand strangers are one entry."""
    world = build()

    for member_id in ("ann", "eve", "joe"):
        assert (await world.rank(member_id=member_id)).response.history.source == "cold_start"

    assert world.ranker.encoded == 1
    assert len(world.cache) == 1


async def test_reuse_can_be_refused_and_the_baseline_bypasses_the_cache(build: Build) -> None:
    """A fair comparison of the modes encodes every time, and leaves the cache alone."""
    world = build()
    await world.act(5)

    for _ in range(2):
        await world.rank(reuse_encoding=False)
        assert world.observer.last.encoding == "computed"
        await world.rank(mode="non_amortized")
        assert world.observer.last.encoding is None

    assert world.ranker.encoded == 2
    assert len(world.cache) == 0


async def test_ten_simultaneous_requests_for_a_cold_member_encode_once(build: Build) -> None:
    """Single flight, with ten equal answers."""
    world = build()
    await world.act(5, 6)
    world.ranker.gate.clear()
    tasks = [asyncio.create_task(world.rank()) for _ in range(10)]
    await settle()

    world.ranker.gate.set()
    results = await asyncio.gather(*tasks)

    assert world.ranker.encoded == 1
    assert all(result.response.ranked == results[0].response.ranked for result in results)


async def test_the_surfaces_have_models_of_their_own(build: Build) -> None:
    """An ads request goes to the ads ranker and is scored by revenue."""
    world = build()

    response, _ = await world.rank(surface="ads")

    assert response.model.name == "ads"
    assert set(response.ranked[0].predictions) == {"click"}
    assert world.ranker.encoded == 0


@pytest.mark.parametrize("mode", ["amortized", "non_amortized"])
async def test_explanations_are_given_in_either_mode(build: Build, mode: str) -> None:
    """Also when the encoding is kept: the actions are read then, because they must be named."""
    world = build()
    await world.act(5, 6)
    await world.rank()

    response, _ = await world.rank(mode=mode, explain=1, limit=1)

    (only,) = response.ranked
    assert isinstance(only.explanation, list)
    assert [(a.item_id, a.action, a.timestamp) for a in only.explanation] == [("item-6", "view", NOW)]


@pytest.mark.parametrize(
    ("error", "lookup"), [(StoreUnavailable("x"), "unavailable"), (HistoryDamaged("x"), "damaged")]
)
async def test_a_failed_history_is_answered_cold_and_flagged(build: Build, error: Exception, lookup: str) -> None:
    """Never from an older encoding, although one is at hand; and what was answered so is not kept for the member."""
    world = build()
    await world.act(5, 6)
    good = await world.rank()
    world.store.error = error

    response, _ = await world.rank()

    assert (response.history.source, response.history.length) == ("degraded", 0)
    assert (world.observer.last.outcome, world.observer.last.lookup) == ("degraded", lookup)
    world.store.error = None
    assert (await world.rank()).response.ranked == good.response.ranked


async def test_a_failed_history_is_unavailable_where_the_setting_says_so(build: Build) -> None:
    """503 rather than a guess."""
    world = build(on_history_failure="unavailable")
    world.store.error = StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        await world.rank()

    assert world.observer.last.outcome == "unavailable"


async def test_a_missing_model_is_unavailable(build: Build) -> None:
    """Observed without a version, since there is none."""
    world = build()
    del world.service._models["ads"]  # type: ignore[attr-defined]

    with pytest.raises(ModelUnavailable):
        await world.rank(surface="ads")

    assert (world.observer.last.outcome, world.observer.last.model_version) == ("unavailable", None)


async def test_an_invalid_request_is_observed_as_such(build: Build) -> None:
    """It never reaches the ranker."""
    world = build()

    with pytest.raises(InvalidRequest):
        await world.rank(context={"no such": 1.0})

    assert world.observer.last.outcome == "invalid"
    assert world.ranker.encoded == 0


async def test_a_failing_ranker_fails_its_request_and_no_other(build: Build) -> None:
    """The failure is not kept: the next request encodes again and is answered."""
    world = build()
    await world.act(5)
    world.ranker.error = InferenceFailed("no")

    with pytest.raises(InferenceFailed):
        await world.rank()
    assert world.observer.last.outcome == "failed"

    world.ranker.error = None
    assert (await world.rank()).response.history.length == 1


async def test_a_request_beyond_the_permits_is_shed(build: Build) -> None:
    """At once, while the first is still under way; and each gives its permit back."""
    world = build(amortized_permits=1)
    world.ranker.gate.clear()
    first = asyncio.create_task(world.rank())
    await settle()

    with pytest.raises(Overloaded):
        await world.rank()
    assert world.observer.last.outcome == "shed"

    world.ranker.gate.set()
    await first
    assert world.admission.in_flight("amortized") == 0


async def test_a_request_past_its_deadline_is_stopped(build: Build) -> None:
    """The caller is told, the observer too, and the permit is free."""
    world = build(amortized_deadline_ms=10)
    world.ranker.gate.clear()

    with pytest.raises(DeadlineExceeded):
        await world.rank()

    assert world.observer.last.outcome == "deadline"
    assert world.observer.last.total_seconds > 0.0
    assert world.admission.in_flight("amortized") == 0


async def test_a_cancelled_request_is_observed(build: Build) -> None:
    """A client that disconnects vanishes from no graph."""
    world = build()
    world.ranker.gate.clear()
    task = asyncio.create_task(world.rank())
    await settle()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert world.observer.last.outcome == "cancelled"
    assert "encode" in world.observer.last.clock.seconds


async def test_an_observation_tells_where_the_inference_time_went(build: Build) -> None:
    """Encoding counts when it was computed for this request; the fakes take 0.25, 0.5 and 0.75 seconds."""
    world = build()
    await world.act(5, 6)

    seconds = []
    for mode in ("amortized", "amortized", "non_amortized"):
        await world.rank(mode=mode)
        seconds.append(world.observer.last.inference_seconds)

    assert seconds == [0.75, 0.5, 0.75]
    seen = world.observer.last
    assert (seen.surface, seen.candidates, seen.history_length, seen.model_version) == ("feed", 3, 2, "1")


async def test_the_default_mode_is_a_setting(build: Build) -> None:
    """A request that names no mode gets it."""
    world = build(default_mode="non_amortized")

    assert (await world.rank()).response.mode == "non_amortized"


@pytest.mark.parametrize("seed", range(5))
async def test_ranks_racing_appends_rewrites_and_erasures_never_see_a_stale_history(build: Build, seed: int) -> None:
    """Every answer is that of some state the log had while the request ran, and never of an older one."""
    world = build()
    rng = np.random.default_rng(seed)
    cold = build(cache_bytes=0)
    reference: dict[int, Any] = {}  # by number of actions: the logs differ in nothing else here

    async def expected(length: int) -> Any:
        if length not in reference:
            await cold.store.erase("bob")
            if length:
                await cold.act(*range(1, length + 1))
            reference[length] = (await cold.rank(reuse_encoding=False)).response.ranked
        return reference[length]

    length = 0
    running: list[tuple[asyncio.Task[Ranking], set[int]]] = []
    for _ in range(150):
        step = rng.choice(["rank", "rank", "rank", "act", "rewrite", "erase", "settle", "hold", "go", "cancel"])
        if step == "rank":
            allowed = {length}
            running.append((asyncio.create_task(world.rank()), allowed))
        elif step in ("act", "rewrite", "erase"):
            if step == "act" and length < 20:
                length += 1
                await world.act(length)
            elif step == "rewrite":
                length = int(rng.integers(1, 20))
                rows = list(range(1, length + 1))
                embeddings = world.model.items.embeddings16[rows]
                await world.store.replace("bob", encode_records(rows, [0] * length, [NOW] * length, embeddings))
            else:
                length = 0
                await world.store.erase("bob")
            for task, allowed in running:
                if not task.done():
                    allowed.add(length)
        elif step == "settle":
            await settle()
        elif step == "hold":
            world.ranker.gate.clear()
        elif step == "go":
            world.ranker.gate.set()
        elif running:
            running[int(rng.integers(len(running)))][0].cancel()
    world.ranker.gate.set()
    results = await asyncio.gather(*(task for task, _ in running), return_exceptions=True)

    answered = 0
    for result, (_, allowed) in zip(results, running, strict=True):
        if isinstance(result, Ranking):
            answered += 1
            assert result.response.history.length in allowed
            assert result.response.ranked == await expected(result.response.history.length)
        else:
            assert isinstance(result, asyncio.CancelledError)
    assert answered > 10


def test_ranking_needs_none_of_the_frameworks() -> None:
    """In a fresh process: importing the use case, and everything it imports, leaves these four out."""
    code = (
        "import sys, service.ranking\n"
        "heavy = {'torch', 'redis', 'prometheus_client', 'fastapi', 'starlette'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
