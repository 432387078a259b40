"""RankingService: the request's path, with a fake ranker, an in-memory store, and none of the frameworks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.service.worlds import NOW, World, build_world, settle

Build = Callable[..., World]


@pytest.fixture
def build(repository: Path) -> Build:
    """A world with settings of the test's choice."""
    return partial(build_world, repository)


async def test_a_request_is_answered_with_model_mode_history_and_ranking(build: Build) -> None:
    """Everything the answer promises, and a clock that passed every stage."""
    world = build()
    await world.act(5, 6)

    response, clock, _ = await world.rank(limit=2)

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
    await world.rank()
    await world.rank(reuse_encoding=False)
    assert world.ranker.encoded == 4  # although an encoding is kept by now


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

    response, _, _ = await world.rank(surface="ads")

    assert response.model.name == "ads"
    assert set(msgspec.to_builtins(response.ranked[0].predictions)) == {"click"}
    assert world.ranker.encoded == 0


@pytest.mark.parametrize("mode", ["amortized", "non_amortized"])
async def test_explanations_are_given_in_either_mode(build: Build, mode: str) -> None:
    """Also when the encoding is kept: the actions are read then, because they must be named."""
    world = build()
    await world.act(5, 6)
    await world.rank()

    response, _, _ = await world.rank(mode=mode, explain=1, limit=1)

    (only,) = response.ranked
    assert isinstance(only.explanation, list)
    assert [(a.item_id, a.action, a.timestamp) for a in only.explanation] == [("item-6", "view", NOW)]


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


def test_ranking_needs_none_of_the_frameworks() -> None:
    """In a fresh process: importing the use case, and everything it imports, leaves these four out."""
    code = (
        "import sys, service.ranking\n"
        "heavy = {'torch', 'redis', 'prometheus_client', 'fastapi', 'starlette'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
