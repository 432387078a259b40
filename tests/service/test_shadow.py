"""ShadowComparison: which requests are compared, how, and that broken parity does not stay unseen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import InferenceFailed, InvalidRequest, StoreUnavailable
from service.inputs import CandidateArrays, HistoryArrays
from service.models import LoadedModel, Scored
from service.schemas import Mode, Surface
from service.shadow import LONGEST_WAIT_SECONDS, QUEUE_LENGTH, DropReason, Pair, Served, ShadowComparison
from service.spare_threads import GivenBack
from tests.fakes import FakeRanker
from tests.service.worlds import World, build_world

SECONDS = 30.0


class Recorder:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.reasons: list[DropReason] = []
        self._told = asyncio.Event()

    def compared(self, pair: Pair) -> None:
        self.pairs.append(pair)
        self._told.set()

    def dropped(self, reason: DropReason) -> None:
        self.reasons.append(reason)
        self._told.set()

    async def hears(self, count: int) -> None:
        """Wait until so much was told in all."""
        async with asyncio.timeout(SECONDS):
            while len(self.pairs) + len(self.reasons) < count:
                self._told.clear()
                await self._told.wait()


class Skewed(FakeRanker):
    """A ranker whose modes disagree: `skew` changes the logits of the non-amortized one."""

    def __init__(self, tasks: int, skew: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        super().__init__(tasks)
        self.skew = skew

    async def score_non_amortized(self, history: HistoryArrays, candidates: CandidateArrays) -> Scored:
        scored = await super().score_non_amortized(history, candidates)
        return Scored(self.skew(scored.logits), scored.seconds)


class Failing(FakeRanker):
    """A ranker whose non-amortized mode raises."""

    def __init__(self, tasks: int, failure: Exception) -> None:
        super().__init__(tasks)
        self.failure = failure

    async def score_non_amortized(self, history: HistoryArrays, candidates: CandidateArrays) -> Scored:
        raise self.failure


@pytest.fixture
def world(repository: Path) -> World:
    return build_world(repository)


@asynccontextmanager
async def comparing(
    world: World, fraction: float = 0.0, longest_wait: float = LONGEST_WAIT_SECONDS
) -> AsyncIterator[tuple[ShadowComparison, Recorder]]:
    told = Recorder()
    stores = {world.model.manifest.embedding_version: world.store}
    shadow = ShadowComparison(fraction, stores, told, random.Random(5).random, longest_wait)
    async with shadow.running():
        yield shadow, told


async def served(world: World, spare: FakeRanker | None = None, **fields: Any) -> Served:
    """A request that was answered, to be run again by `spare`."""
    ranking = await world.rank(**fields)
    return ranking.served._replace(
        model=type(world.model)(world.model.manifest, world.model.items, world.ranker, spare)
    )


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (1.0, 1000), (0.25, 264)])
async def test_chance_chooses_the_share_that_was_asked_for(world: World, fraction: float, expected: int) -> None:
    """None, all, and with a seed always the same quarter."""
    async with comparing(world, fraction) as (shadow, _):
        assert abs(sum(shadow.chosen(None) for _ in range(1000)) - expected) <= 30
    async with comparing(world, fraction) as (one, _), comparing(world, fraction) as (other, _):
        assert [one.chosen(None) for _ in range(50)] == [other.chosen(None) for _ in range(50)]


async def test_a_header_overrules_chance(world: World) -> None:
    """1 compares, 0 does not, whatever the fraction; anything else is refused by name."""
    for fraction in (0.0, 1.0):
        async with comparing(world, fraction) as (shadow, _):
            assert shadow.chosen("1")
            assert not shadow.chosen("0")
            with pytest.raises(InvalidRequest) as refused:
                shadow.chosen("yes")
            assert refused.value.field == "X-Rankonce-Shadow"


@pytest.mark.parametrize("mode", ["amortized", "non_amortized"])
async def test_both_modes_are_run_with_encodings_of_their_own(world: World, mode: Mode) -> None:
    """Whichever mode answered, and although the answer's encoding is kept; by turns the one and the other is first."""
    await world.act(1, 2)
    await world.rank()
    spare = FakeRanker(2)
    async with comparing(world) as (shadow, told):
        for _ in range(2):
            await shadow.offer(await served(world, spare, mode=mode))
        await told.hears(2)

    assert (spare.encoded, spare.scored, spare.non_amortized) == (2, 2, 2)
    for pair in told.pairs:
        assert pair == Pair("feed", {"amortized": 0.75, "non_amortized": 0.75}, 0.0, "same", broken=False)
    assert told.reasons == []


async def test_a_history_that_was_not_read_is_read_again(world: World) -> None:
    """The answer used a kept encoding; what the comparison computes from the log is the same."""
    await world.act(1, 2)
    await world.rank()
    answered = await served(world)
    assert answered.history is None
    async with comparing(world) as (shadow, told):
        await shadow.offer(answered)
        await told.hears(1)

    assert [(pair.difference, pair.broken) for pair in told.pairs] == [(0.0, False)]


@pytest.mark.parametrize("failure", ["changed", "unavailable"])
async def test_a_history_that_is_no_longer_there_drops_the_pair(world: World, failure: str) -> None:
    """An action that came meanwhile, or a store that fails, would compare two different things."""
    await world.act(1, 2)
    await world.rank()
    answered = await served(world)
    if failure == "changed":
        await world.act(3)
    else:
        world.store.error = StoreUnavailable("x")
    async with comparing(world) as (shadow, told):
        await shadow.offer(answered)
        await told.hears(1)

    assert (told.pairs, told.reasons) == ([], ["history"])


async def test_a_wrong_answer_is_noticed_even_if_the_modes_agree(world: World) -> None:
    """What was answered is the third of the pair: a cache that gave another member's encoding would show."""
    await world.act(1, 2)
    answered = await served(world)
    async with comparing(world) as (shadow, told):
        await shadow.offer(answered._replace(logits=answered.logits + np.float32(1e-3)))
        await told.hears(1)

    assert told.pairs[0].broken
    assert told.pairs[0].order == "same"


@pytest.mark.parametrize(
    ("skew", "order", "broken"),
    [
        (lambda x: x, "same", False),
        (lambda x: x * np.float32(1 + 1e-7), "same", False),
        (lambda x: x + np.float32(1e-2), "same", True),
        (lambda x: -x, "different", True),
        (lambda x: x * np.float32(np.nan), None, True),
    ],
)
async def test_a_mode_that_disagrees_breaks_parity(
    world: World, skew: Callable[[NDArray[np.float32]], NDArray[np.float32]], order: str | None, broken: bool
) -> None:
    """Rounding does not; a shift beyond the tolerance, another sign and NaN do."""
    await world.act(1, 2)
    async with comparing(world) as (shadow, told):
        await shadow.offer(await served(world, Skewed(2, skew), count=20))
        await told.hears(1)

    assert [(pair.order, pair.broken) for pair in told.pairs] == [(order, broken)]


@pytest.mark.parametrize("surface", ["feed", "ads"])
@pytest.mark.parametrize(("shift", "order"), [(1e-3, "tied"), (0.5, "different")])
async def test_scores_that_the_tolerance_cannot_tell_apart_are_tied(
    world: World, surface: Surface, shift: float, order: str
) -> None:
    """Of two candidates with one score the second is put first by a hair, or by a mile."""

    class Level(FakeRanker):
        def _logits(self, history: NDArray[np.float32], candidates: CandidateArrays) -> NDArray[np.float32]:
            return np.full((candidates.size, self.tasks), 0.5, dtype=np.float32)

    class Tilted(Level, Skewed):
        pass

    model = world.models[surface]
    tasks = len(model.manifest.tasks)
    tilted = Tilted(tasks, lambda x: x + np.array([[0.0], [shift]], dtype=np.float32))
    manifest = model.manifest.model_copy(update={"precision": "bf16", "golden_tolerance": 5e-3})
    world.models[surface] = LoadedModel(manifest, model.items, Level(tasks), tilted)
    async with comparing(world) as (shadow, told):
        await shadow.offer((await world.rank(surface=surface, count=2)).served)
        await told.hears(1)

    assert [(pair.order, pair.broken) for pair in told.pairs] == [(order, shift > 5e-3)]


async def test_reduced_precision_has_the_tolerance_of_its_bundle(world: World) -> None:
    """What a bundle of float32 may not differ by, one of bfloat16 may, up to its manifest's tolerance."""
    await world.act(1, 2)
    answered = await served(world, Skewed(2, lambda x: x + np.float32(1e-3)))
    manifest = answered.model.manifest.model_copy(update={"precision": "bf16", "golden_tolerance": 5e-2})
    reduced = replace(answered.model, manifest=manifest)
    async with comparing(world) as (shadow, told):
        await shadow.offer(answered)
        await shadow.offer(answered._replace(model=reduced))
        await told.hears(2)

    assert [pair.broken for pair in told.pairs] == [True, False]


async def test_a_mode_that_cannot_score_breaks_parity(world: World) -> None:
    """The other one answered: so they are not the same function."""
    await world.act(1, 2)
    async with comparing(world) as (shadow, told):
        await shadow.offer(await served(world, Failing(2, InferenceFailed("x"))))
        await told.hears(1)

    assert told.pairs == [Pair("feed", {"amortized": 0.75}, None, None, broken=True)]


async def test_a_thread_that_is_needed_drops_the_pair(world: World) -> None:
    """Preempted is not broken."""
    async with comparing(world) as (shadow, told):
        await shadow.offer(await served(world, Failing(2, GivenBack())))
        await told.hears(1)

    assert (told.pairs, told.reasons) == ([], ["preempted"])


async def test_a_comparison_that_does_not_come_to_its_end_is_dropped(world: World) -> None:
    """While no thread is free the queue fills; what finds no room, or waited too long, is dropped and counted."""
    spare = FakeRanker(2)
    spare.gate.clear()
    answered = await served(world, spare)
    async with comparing(world, longest_wait=0.05) as (shadow, told):
        for _ in range(QUEUE_LENGTH + 3):
            await shadow.offer(answered)
        await told.hears(QUEUE_LENGTH + 3)

    assert told.pairs == []
    assert set(told.reasons) == {"queue_full", "busy"}


async def test_what_is_left_at_the_end_is_dropped(world: World) -> None:
    """The run under way and those in the queue, each once."""
    spare = FakeRanker(2)
    spare.gate.clear()
    answered = await served(world, spare)
    async with comparing(world) as (shadow, told):
        for _ in range(3):
            await shadow.offer(answered)
            await asyncio.sleep(0)

    assert (told.pairs, told.reasons) == ([], ["stopping"] * 3)


async def test_a_bug_ends_one_comparison_only(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next one is compared."""
    async with comparing(world) as (shadow, told):
        await shadow.offer(await served(world, Failing(2, RuntimeError("bug"))))
        await shadow.offer(await served(world, FakeRanker(2)))
        await told.hears(1)

    assert len(told.pairs) == 1
    assert "a shadow comparison failed" in caplog.text
