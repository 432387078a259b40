"""Extension: a member who acts costs the encoding of the new actions, and gets the scores of the whole history."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.bundle import Manifest, Surface
from model.config import Encoder
from service.admission import Admission
from service.bundles import load_model
from service.codec import HistoryVersion, MemberHistory, encode_records
from service.encoded import EncodedHistoryCache
from service.inputs import HistoryArrays, history_arrays
from service.lookups import HistoryLookup
from service.models import LoadedModel
from service.ranking import RankingService
from service.redis_histories import RedisHistoryStore
from service.runtime import InferencePool
from service.schemas import Candidate, RankRequest
from service.settings import Settings
from service.shadow import Served
from tests.fakes import RecordingObserver
from tests.service.worlds import World, build_world, settle

SETTINGS = Settings(non_amortized_chunk=4)


@pytest.fixture
def world(repository: Path) -> World:
    """A world whose rankers extend: T_max 24, slack 6. Its fakes claim half a second a pass: nothing is to be shed."""
    return build_world(repository, extendable=True, amortized_deadline_ms=60_000)


async def test_a_new_action_alone_is_encoded(world: World) -> None:
    """The answer, the label and the time are those of an extension; the history was read from the store."""
    await world.act(5, 6, 7)
    await world.rank()
    await world.act(8)

    extended = await world.rank()
    assert (world.ranker.extended, world.observer.last.encoding) == ([1], "extended")
    assert world.observer.last.inference_seconds == 0.125 + 0.5
    assert (extended.response.history.length, extended.response.history.source) == (4, "store")
    anew = await world.rank(reuse_encoding=False)
    assert [(r.id, r.score) for r in extended.response.ranked] == [(r.id, r.score) for r in anew.response.ranked]


async def test_what_was_extended_is_kept_and_extended_again(world: World) -> None:
    """Only the newest encoding of a member is in the cache."""
    await world.act(5, 6, 7)
    await world.rank()
    for row in (8, 9):
        await world.act(row, row + 2)
        await world.rank()
    await world.rank()

    assert (world.ranker.encoded, world.ranker.extended) == (3, [2, 2])
    assert world.observer.last.encoding == "cached"
    assert len(world.cache) == 1


async def test_when_the_anchor_moves_the_history_is_encoded_anew(world: World) -> None:
    """Up to 24 actions an encoding grows; with the 25th the window begins at the sixth, whatever is cached."""
    lengths = []
    for total in range(22, 28):
        await world.act(*([5] * (22 if total == 22 else 1)))
        await world.rank()
        lengths.append((world.observer.last.history_length, world.observer.last.encoding))

    assert lengths == [
        (22, "computed"), (23, "extended"), (24, "extended"), (19, "computed"), (20, "extended"), (21, "extended"),
    ]  # fmt: skip


async def test_a_rewritten_history_is_encoded_anew(world: World) -> None:
    """Another incarnation shares nothing with the one before, even where it is longer."""
    await world.act(5, 6)
    await world.rank()
    log = await world.store.log("bob")
    await world.store.replace("bob", np.concatenate([log.records, log.records]).tobytes())

    await world.rank()

    assert (world.ranker.extended, world.observer.last.encoding) == ([], "computed")


async def test_simultaneous_requests_share_one_extension(world: World) -> None:
    """Single flight: ten requests after an action extend once."""
    await world.act(5, 6)
    await world.rank()
    await world.act(7)
    world.ranker.gate.clear()
    tasks = [asyncio.create_task(world.rank()) for _ in range(10)]
    await settle()
    world.ranker.gate.set()
    results = await asyncio.gather(*tasks)

    assert world.ranker.extended == [1]
    assert all(result.response.ranked == results[0].response.ranked for result in results)
    assert sorted(str(seen.encoding) for seen in world.observer.seen[1:]) == ["cached"] * 9 + ["extended"]


@pytest.fixture(scope="module")
def pool() -> Iterator[InferencePool]:
    pool = InferencePool(threads=2)
    yield pool
    pool.close()


@pytest.fixture(scope="module", params=["hstu", "causal_transformer"])
def bundles(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    export: Callable[[Path, Surface, int, Encoder], Manifest],
    pool: InferencePool,
) -> list[LoadedModel]:
    """Two versions of a real, extendable ranker."""
    root = tmp_path_factory.mktemp(request.param)
    for version in (1, 2):
        export(root / "feed" / str(version), "feed", version, request.param)
    return [load_model(root / "feed" / version, pool, SETTINGS) for version in ("1", "2")]


def actions(model: LoadedModel, count: int, seed: int) -> HistoryArrays:
    """So many random ones."""
    rng = np.random.default_rng(seed)
    return HistoryArrays(
        model.items.embeddings[rng.integers(1, len(model.items), count)],
        rng.integers(0, len(model.manifest.actions), count),
        1_700_000_000_000 + np.cumsum(rng.integers(0, 3_600_000, count)),
    )


def assert_same(actual: Any, expected: Any) -> None:
    """Of thousands of logits with such loud weights a few are sums of terms a hundred times as large: their rounding
    asks for the golden cases' tolerance. Logits of any other history are orders of magnitude further away."""
    assert np.all(np.abs(actual - expected) <= 1e-4 * np.maximum(1.0, np.abs(expected)))


async def test_an_extension_weighs_what_the_whole_encoding_weighs(bundles: list[LoadedModel]) -> None:
    """It holds as many bytes, says how long it is, and takes nothing from the shorter one."""
    ranker, history = bundles[0].ranker, actions(bundles[0], 20, seed=1)
    prefix = await ranker.encode_history(history.part(slice(15)))
    extended = await ranker.encode_ahead(history, prefix).encoded
    whole = await ranker.encode_history(history)

    assert (extended.length, extended.nbytes) == (whole.length, whole.nbytes) == (20, extended.nbytes)
    assert prefix.length == 15


async def test_an_encoding_of_other_actions_is_not_extended(bundles: list[LoadedModel]) -> None:
    """A failover may take acknowledged actions back, and the log grow by others: times that differ tell."""
    ranker, history, other = bundles[0].ranker, actions(bundles[0], 20, seed=1), actions(bundles[0], 15, seed=2)
    expected = await ranker.encode_history(history)

    mistaken = await ranker.encode_ahead(history, await ranker.encode_history(other)).encoded

    for one, two in zip(expected.tensors.parts[0], mistaken.tensors.parts[0], strict=True):  # type: ignore[attr-defined]
        assert_same(one.numpy(), two.numpy())


@dataclass
class Race:
    """Members who act, are rewritten and erased by one writer each, while several rank them and bundles change.

    contents: what every version of a log held · served: all answers
    """

    store: RedisHistoryStore
    bundles: list[LoadedModel]
    cache: EncodedHistoryCache
    observer: RecordingObserver = field(default_factory=RecordingObserver)
    contents: dict[tuple[str, HistoryVersion], MemberHistory] = field(default_factory=dict)
    served: list[Served] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = Settings(amortized_deadline_ms=60_000)
        self.model = self.bundles[0]
        lookup = HistoryLookup({self.model.manifest.embedding_version: self.store}, settings.on_history_failure)
        admission = Admission.from_settings(settings)
        self.service = RankingService(settings, self, lookup, self.cache, admission, self.observer)

    def get(self, surface: Surface) -> LoadedModel:
        """The bundle that serves now."""
        return self.model

    async def write(self, member_id: str, draws: random.Random) -> None:
        for step in range(60):
            what = draws.choices(["append", "replace", "erase"], [12, 1, 1])[0]
            count = draws.randint(1, 3) if what == "append" else draws.randint(1, 30)
            history = actions(self.model, count, seed=draws.randrange(2**32))
            rows = np.ones(count, np.int64)
            data = encode_records(rows, history.actions, history.timestamps, history.embeddings.astype(np.float16))
            if what == "erase":
                await self.store.erase(member_id)
            elif what == "replace":
                await self.store.replace(member_id, data)
            else:
                await self.store.append(member_id, data, None)
            log = await self.store.log(member_id)
            self.contents[member_id, log.version] = log
            if step % 20 == 0:
                self.model = draws.choice(self.bundles)
            await asyncio.sleep(draws.random() * 0.02)

    async def rank(self, member_id: str, draws: random.Random, writing: asyncio.Task[None]) -> None:
        while not writing.done():
            chosen = [Candidate(f"item-{i}") for i in draws.sample(range(1, 51), 4)]
            request = RankRequest(member_id, "feed", chosen, request_time=1_800_000_000_000)
            self.served.append((await self.service.rank(request, "race")).served)
            await asyncio.sleep(draws.random() * 0.005)

    async def run(self, members: int, rankers: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for member in range(members):
                name = f"member-{member}"
                writing = tasks.create_task(self.write(name, random.Random(member)))
                for ranker in range(rankers):
                    tasks.create_task(self.rank(name, random.Random(f"{member} {ranker}"), writing))

    async def check(self) -> None:
        """Every answer has the logits of its version's window, encoded anew by its bundle."""
        for served in self.served:
            manifest = served.model.manifest
            whole = MemberHistory.empty(manifest.embedding_dim)
            if served.version != HistoryVersion(0, 0):
                whole = self.contents[served.member_id, served.version]
            start = manifest.window_start(whole.total) - whole.start
            history = history_arrays(
                MemberHistory(whole.incarnation, whole.total, whole.start + start, whole.records[start:]), manifest
            )
            expected = await served.model.ranker.score_non_amortized(history, served.candidates)
            assert_same(served.logits, expected.logits)


@pytest.fixture
async def store(redis_url: str, bundles: list[LoadedModel], tmp_path: Path) -> AsyncIterator[RedisHistoryStore]:
    """In a real Redis, in a namespace of its own."""
    manifest = bundles[0].manifest
    name = f"race-{manifest.encoder}-{tmp_path.name}"
    opened = RedisHistoryStore(
        redis_url, name, manifest.embedding_version, manifest.embedding_dim, manifest.max_history, 5000
    )
    yield opened
    await opened.close()


@pytest.mark.parametrize("cache_bytes", [1 << 24, 40_000])
async def test_every_answer_is_that_of_its_version(
    store: RedisHistoryStore, bundles: list[LoadedModel], cache_bytes: int
) -> None:
    """Appends, rewrites, erasures and reloads race with ranks, with room for all encodings and for few: what was
    extended, kept or encoded anew scores alike."""
    race = Race(store, bundles, EncodedHistoryCache(cache_bytes))

    await race.run(members=4, rankers=3)

    await race.check()
    encodings = [seen.encoding for seen in race.observer.seen]
    assert {"computed", "cached", "extended"} <= set(encodings)
    assert all(seen.outcome == "ok" for seen in race.observer.seen)
