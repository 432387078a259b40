"""Prefetching: what becomes of a hint, and that no ranking is the worse for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from service.errors import InferenceFailed, ModelUnavailable, StoreUnavailable
from service.prefetch import Prefetching, PrefetchResult
from service.schemas import PrefetchRequest
from tests.service.worlds import World, build_world, settle

SECONDS = 60.0


class Hints:
    """Prefetching in a world, and what became of each."""

    def __init__(self, world: World, pending: int = 8, longest_seconds: float = SECONDS) -> None:
        self.results: Counter[PrefetchResult] = Counter()
        self.prefetching = Prefetching(
            pending, world.models, world.lookup, world.cache, lambda r: self.results.update([r]), longest_seconds
        )

    def give(self, member_id: str = "bob", times: int = 1) -> None:
        for _ in range(times):
            self.prefetching.begin(PrefetchRequest(member_id, "feed"))


@pytest.fixture
def world(repository: Path) -> World:
    return build_world(repository)


async def test_a_rank_after_a_prefetch_finds_the_encoding(world: World) -> None:
    """The history is encoded once, by the prefetch, and a second hint finds it as well."""
    hints = Hints(world)
    await world.act(1, 2)
    hints.give()
    await settle()
    answer = await world.rank()
    hints.give()
    await settle()

    assert hints.results == {"encoded": 1, "cached": 1}
    assert answer.response.history.source == "cache"
    assert (world.ranker.encoded, world.observer.last.encoding) == (1, "cached")


async def test_a_rank_that_comes_meanwhile_hurries_the_prefetch_and_shares_it(world: World) -> None:
    """Another hint does not hurry it: only a ranking waits."""
    hints = Hints(world)
    await world.act(1, 2)
    world.ranker.gate.clear()
    hints.give(times=2)
    await settle()
    assert world.ranker.hurried == 0

    ranking = asyncio.ensure_future(world.rank())
    await settle()
    assert world.ranker.hurried == 1
    world.ranker.gate.set()
    answer = await ranking

    assert (world.ranker.encoded, world.observer.last.encoding) == (1, "cached")
    assert answer.response.history.length == 2
    assert hints.results == {"encoded": 1, "cached": 1}


async def test_a_rank_under_way_is_joined_and_not_hurried(world: World) -> None:
    """The ranking encodes for itself; the hint that comes later adds nothing."""
    hints = Hints(world)
    await world.act(1)
    world.ranker.gate.clear()
    ranking = asyncio.ensure_future(world.rank())
    await settle()
    hints.give()
    await settle()
    world.ranker.gate.set()
    await ranking
    await settle()

    assert (world.ranker.encoded, world.ranker.hurried, hints.results) == (1, 0, {"cached": 1})


async def test_more_than_the_bound_are_dropped_and_counted(world: World) -> None:
    """Fifty at once against a ranker that stands still: eight wait, and end when it goes on."""
    hints = Hints(world, pending=8)
    for number in range(50):
        await world.act(1, member_id=f"m{number}")
    world.ranker.gate.clear()
    for number in range(50):
        hints.give(f"m{number}")
    await settle()
    assert (world.ranker.encoded, hints.results) == (8, {"dropped": 42})

    world.ranker.gate.set()
    await settle()
    assert hints.results == {"encoded": 8, "dropped": 42}


async def test_a_member_without_a_history_has_nothing_to_encode(world: World) -> None:
    """Counted, and neither encoded nor kept."""
    hints = Hints(world)
    hints.give()
    await settle()

    assert (hints.results, world.ranker.encoded, len(world.cache)) == ({"absent": 1}, 0, 0)


@pytest.mark.parametrize("policy", ["degraded", "unavailable"])
async def test_a_failing_store_is_counted_and_logged_once(
    repository: Path, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    """Whatever ranking does then; and no cold encoding is taken for the member's."""
    world = build_world(repository, on_history_failure=policy)
    hints = Hints(world)
    world.store.error = StoreUnavailable("gone")
    for _ in range(3):
        hints.give()
        await settle()

    assert (hints.results, world.ranker.encoded) == ({"failed": 3}, 0)
    assert len(caplog.records) == 1


async def test_a_failed_prefetch_harms_no_rank(world: World) -> None:
    """The ranker's error is counted, nothing is kept, and the next ranking encodes for itself."""
    hints = Hints(world)
    await world.act(1)
    world.ranker.error = InferenceFailed("no")
    hints.give()
    await settle()
    world.ranker.error = None
    await world.rank()

    assert hints.results == {"failed": 1}
    assert (world.ranker.encoded, world.observer.last.encoding) == (2, "computed")


async def test_a_prefetch_that_waits_too_long_is_dropped_but_not_a_rank_that_joined_it(world: World) -> None:
    """The flight stays with who needs it; where nobody does, the encoding is given up."""
    hints = Hints(world, longest_seconds=0.01)
    await world.act(1)
    await world.act(1, member_id="eve")
    world.ranker.gate.clear()
    hints.give()
    hints.give("eve")
    await settle()
    ranking = asyncio.ensure_future(world.rank())
    while hints.results["dropped"] < 2:  # noqa: ASYNC110 - nothing tells when a hint was dropped
        await asyncio.sleep(0.01)
    world.ranker.gate.set()

    assert (await ranking).response.history.length == 1
    assert world.cache.lookup(world.model.identity, "eve") is None


async def test_an_erasure_in_between_leaves_nothing(world: World) -> None:
    """An encoding that lands after its member was erased is not kept, and the next ranking is a cold start."""
    hints = Hints(world)
    await world.act(1)
    world.ranker.gate.clear()
    hints.give()
    await settle()
    await world.store.erase("bob")
    world.cache.forget(world.model.identity, "bob")
    world.ranker.gate.set()
    await settle()

    assert (hints.results, len(world.cache)) == ({"encoded": 1}, 0)
    assert (await world.rank()).response.history.source == "cold_start"


async def test_events_in_between_make_the_prefetch_useless_and_nothing_worse(world: World) -> None:
    """The ranking reads the newer log and encodes that."""
    hints = Hints(world)
    await world.act(1)
    hints.give()
    await settle()
    await world.act(2)
    answer = await world.rank()

    assert (answer.response.history.length, world.observer.last.encoding) == (2, "computed")


async def test_closing_drops_what_is_under_way(world: World) -> None:
    """No task outlives the service."""
    hints = Hints(world)
    await world.act(1)
    world.ranker.gate.clear()
    async with hints.prefetching.running():
        hints.give()
        await settle()

    assert hints.results == {"dropped": 1}


async def test_a_surface_without_a_bundle_is_refused(world: World) -> None:
    """At once, so that the caller learns it."""
    del world.models["feed"]

    with pytest.raises(ModelUnavailable):
        Hints(world).give()
