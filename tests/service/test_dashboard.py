"""The recorder behind the live page: which readings it keeps, and what it makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from service.dashboard import FRESH_SECONDS, KEPT_SECONDS, SMOOTHED_SECONDS, Recorder
from service.metrics import Metrics
from service.readings import Sample
from tests.service.test_readings import ranked


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A recorder of real metrics, on a clock of the test's. reads: how often the metrics were read."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.clock = Clock()
        self.reads = 0
        self.recorder = Recorder(self.samples, self.clock)

    def samples(self, names: Iterable[str]) -> list[Sample]:
        self.reads += 1
        return self.metrics.samples(names)

    async def after(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.recorder.refresh(0.0)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.after(0.0)
    return world


async def test_points_and_summary_tell_rates_latencies_and_their_ratio(world: World) -> None:
    """Per second, per mode, in milliseconds; the ratio is that of the inference medians."""
    for _ in range(20):
        ranked(world.metrics, seconds=0.004)
        ranked(world.metrics, seconds=0.4, mode="non_amortized")
    await world.after(10.0)

    seen = await world.recorder.snapshot(0, 60.0)

    assert seen.requests_ever == 40
    (point,) = seen.points
    assert point.modes["amortized"].rate == 2.0
    assert point.modes["amortized"].request.p50 == pytest.approx(4.0, rel=0.42)
    assert point.errors == 0.0
    summary = seen.summary
    assert summary is not None
    assert summary.seconds == 10.0
    assert summary.modes["non_amortized"].requests == 20
    assert summary.modes["non_amortized"].outcomes == {"ok": 20}
    assert summary.modes["amortized"].stages == {"score": 2.0}
    assert summary.inference_ratio == pytest.approx(100.0, rel=0.42)


async def test_nothing_measured_is_none_and_not_zero(world: World) -> None:
    """Without requests there is a rate of zero, and no latency, ratio, error share or reuse."""
    await world.after(5.0)

    seen = await world.recorder.snapshot(0, 60.0)

    assert seen.summary is not None
    assert seen.summary.modes["amortized"].rate == 0.0
    assert seen.summary.modes["amortized"].request.p99 is None
    assert (seen.summary.inference_ratio, seen.summary.errors, seen.summary.reused) == (None, None, None)


async def test_errors_are_the_services_own(world: World) -> None:
    """Shed and failed requests count; what the caller sent wrong, or gave up, does not."""
    for outcome in ("ok", "invalid", "cancelled", "shed", "failed"):
        ranked(world.metrics, outcome=outcome)  # type: ignore[arg-type]
    await world.after(5.0)

    assert (await world.recorder.snapshot(0, 60.0)).points[0].errors == 0.4


async def test_reuse_is_the_share_of_encodings_that_were_not_computed(world: World) -> None:
    """A hit and a shared encode are reuse, a miss is not."""
    for event in ("hit", "hit", "shared", "miss"):
        world.metrics.cache_event(event)  # type: ignore[arg-type]
    await world.after(5.0)

    assert (await world.recorder.snapshot(0, 60.0)).points[0].reused == 0.75


async def test_a_point_tells_of_the_seconds_before_it(world: World) -> None:
    """A burst is seen for SMOOTHED_SECONDS and then no more."""
    ranked(world.metrics)
    for _ in range(8):
        await world.after(SMOOTHED_SECONDS / 4)

    rates = [point.modes["amortized"].rate for point in (await world.recorder.snapshot(0, 60.0)).points]

    assert all(rate > 0 for rate in rates[:4])
    assert rates[4:] == [0.0] * 4


async def test_a_page_is_told_what_it_does_not_have_yet(world: World) -> None:
    """`after` is the number of the last point that it was given."""
    for _ in range(3):
        await world.after(2.0)
    first = await world.recorder.snapshot(0, 60.0)
    await world.after(2.0)

    assert [point.sequence for point in first.points] == [1, 2, 3]
    assert [point.sequence for point in (await world.recorder.snapshot(3, 60.0)).points] == [4]


async def test_the_summary_is_of_the_window_asked_for(world: World) -> None:
    """Requests before it have no part in it."""
    ranked(world.metrics)
    await world.after(100.0)
    ranked(world.metrics)
    ranked(world.metrics)
    await world.after(50.0)

    short, long = [(await world.recorder.snapshot(0, window)).summary for window in (50.0, 600.0)]

    assert short is not None
    assert long is not None
    assert (short.modes["amortized"].requests, long.modes["amortized"].requests) == (2, 3)


async def test_ten_minutes_are_kept_and_no_more(world: World) -> None:
    """Memory is bounded however long it runs."""
    for _ in range(100):
        await world.after(KEPT_SECONDS / 20)

    seen = await world.recorder.snapshot(0, KEPT_SECONDS)

    assert len(seen.points) == 21
    assert seen.now - seen.points[0].at <= KEPT_SECONDS


async def test_many_pages_cost_as_many_readings_as_one(world: World) -> None:
    """A reading that is fresh serves all who ask."""
    world.clock.now += FRESH_SECONDS
    before = world.reads

    await asyncio.gather(*(world.recorder.snapshot(0, 60.0) for _ in range(20)))

    assert world.reads == before + 1


async def test_it_reads_while_nobody_asks_and_stops_with_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is opened finds what came before it."""
    monkeypatch.setattr("service.dashboard.IDLE_SECONDS", 0.01)
    world = World()
    async with world.recorder.running():
        async with asyncio.timeout(5.0):
            while world.reads < 3:
                world.clock.now += 1.0
                await asyncio.sleep(0.001)
    done = world.reads

    await asyncio.sleep(0.05)

    assert world.reads == done
