"""RankingService when something fails, runs out or races: typed, observed, and never a stale history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.codec import encode_records
from service.errors import (
    DeadlineExceeded,
    HistoryDamaged,
    InferenceFailed,
    InvalidRequest,
    ModelUnavailable,
    Overloaded,
    StoreUnavailable,
)
from service.ranking import Ranking
from tests.service.worlds import NOW, World, build_world, settle

Build = Callable[..., World]


@pytest.fixture
def build(repository: Path) -> Build:
    """A world with settings of the test's choice."""
    return partial(build_world, repository)


@pytest.mark.parametrize(
    ("error", "lookup"), [(StoreUnavailable("x"), "unavailable"), (HistoryDamaged("x"), "damaged")]
)
async def test_a_failed_history_is_answered_cold_and_flagged(build: Build, error: Exception, lookup: str) -> None:
    """Never from an older encoding, although one is at hand; and what was answered so is not kept for the member."""
    world = build()
    await world.act(5, 6)
    good = await world.rank()
    world.store.error = error

    response, _, _ = await world.rank()

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
    del world.models["ads"]

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


async def test_a_cancelled_leader_leaves_its_encoding_and_takes_its_scoring_along(build: Build) -> None:
    """The follower is answered from the one encoding; nobody scores for who has left."""
    world = build()
    await world.act(5)
    world.ranker.gate.clear()
    leader, follower = (asyncio.create_task(world.rank()) for _ in range(2))
    await settle()

    leader.cancel()
    await settle()
    world.ranker.gate.set()
    await follower
    await settle()

    assert (world.ranker.encoded, world.ranker.scored) == (1, 1)


@pytest.mark.parametrize("seed", range(5))
async def test_ranks_racing_appends_rewrites_and_erasures_never_see_a_stale_history(build: Build, seed: int) -> None:
    """Every answer is that of some state the log had while the request ran, and never of an older one."""
    world = build(amortized_deadline_ms=1e6)  # the fakes say that they take half a second, and nobody may be refused
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
    steps = ["rank", "act", "rewrite", "erase", "settle", "hold", "go", "cancel"]
    shares = [0.3, 0.15, 0.05, 0.05, 0.25, 0.05, 0.1, 0.05]
    for _ in range(200):
        step = rng.choice(steps, p=shares)
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
