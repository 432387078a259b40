"""Admission: permits, shedding, deadlines."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from service.admission import Admission, Limits, Work
from service.errors import DeadlineExceeded, NoTime, Overloaded
from service.schemas import Mode
from service.settings import Settings


def admission(permits: int = 1, deadline_seconds: float = 30.0) -> Admission:
    limits = Limits(permits, deadline_seconds)
    return Admission({"amortized": limits, "non_amortized": limits})


async def test_a_request_without_a_permit_is_shed_at_once() -> None:
    """The second of two is refused while the first holds the only permit, and admitted after it."""
    gate = admission()

    async with gate.admit("amortized"):
        assert gate.in_flight("amortized") == 1
        with pytest.raises(Overloaded) as refused:
            async with gate.admit("amortized"):
                raise AssertionError("admitted")

    assert refused.value.retry_after_seconds >= 0.0
    async with gate.admit("amortized"):
        pass
    assert gate.in_flight("amortized") == 0


async def test_the_modes_have_permits_of_their_own() -> None:
    """A full non-amortized pool takes nothing from the amortized one."""
    gate = admission()

    async with gate.admit("non_amortized"), gate.admit("amortized"):
        assert (gate.in_flight("amortized"), gate.in_flight("non_amortized")) == (1, 1)


async def begun(gate: Admission, stack: contextlib.AsyncExitStack, work: Work, mode: Mode = "amortized") -> None:
    await stack.enter_async_context(gate.admit(mode, work))


@pytest.fixture
def taught() -> Admission:
    """Two threads, a deadline of a second; a unit takes 10 ms in one mode and ten times as long in the other."""
    gate = Admission({"amortized": Limits(50, 1.0), "non_amortized": Limits(50, 1.0)}, threads=2)
    for _ in range(20):
        gate.took("amortized", Work("feed", 3.0), 0.03)
        gate.took("non_amortized", Work("feed", 3.0), 0.3)
    return gate


def test_what_a_request_costs_is_learned_by_mode_and_kind(taught: Admission) -> None:
    """In proportion to its units; nothing is known of another kind, and newer requests count for more."""
    assert taught.expected_seconds("amortized", Work("feed", 5.0)) == pytest.approx(0.05)
    assert taught.expected_seconds("non_amortized", Work("feed", 5.0)) == pytest.approx(0.5)
    assert taught.expected_seconds("amortized", Work("ads", 5.0)) == 0.0

    for _ in range(100):
        taught.took("amortized", Work("feed", 3.0), 0.06)
    assert taught.expected_seconds("amortized", Work("feed", 5.0)) == pytest.approx(0.1, rel=0.05)


async def test_a_request_that_would_wait_for_too_long_is_refused_at_once(taught: Admission) -> None:
    """Ahead are ten of 100 ms on two threads: half a second, of which it must be able to bear the double."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            await begun(taught, stack, Work("feed", 10.0))
        with pytest.raises(NoTime) as refused:
            await begun(taught, stack, Work("feed", 10.0))

    assert refused.value.retry_after_seconds == pytest.approx(0.5)
    assert refused.value.reason == "wait"
    async with taught.admit("amortized", Work("feed", 10.0)):
        pass


async def test_the_callers_own_deadline_counts(taught: Admission) -> None:
    """What is quick enough for most is not for who is in a hurry."""
    now = asyncio.get_running_loop().time()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await begun(taught, stack, Work("feed", 10.0))
        with pytest.raises(NoTime):
            async with taught.admit("amortized", Work("feed", 10.0), now + 0.2):
                raise AssertionError("admitted")
        async with taught.admit("amortized", Work("feed", 10.0), now + 10.0):
            pass


async def test_one_expensive_request_does_not_keep_cheap_ones_out(taught: Admission) -> None:
    """Of what is ahead only as much counts as the request costs itself, since threads serve in turns."""
    async with contextlib.AsyncExitStack() as stack:
        await begun(taught, stack, Work("feed", 1000.0))
        for _ in range(40):
            await begun(taught, stack, Work("feed", 1.0))
        with pytest.raises(NoTime):
            await begun(taught, stack, Work("feed", 1000.0))


async def test_an_idle_service_tries_whatever_it_is_asked(taught: Admission) -> None:
    """An estimate may be wrong; the deadline is there all the same."""
    async with taught.admit("amortized", Work("feed", 1e6)):
        pass


async def test_a_body_past_its_deadline_is_cancelled_and_says_so() -> None:
    """DeadlineExceeded for the caller, cancellation for the work, and the permit is free again."""
    gate = admission(deadline_seconds=0.01)
    cancelled = False

    async def work() -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled = True
            raise

    with pytest.raises(DeadlineExceeded):
        async with gate.admit("amortized"):
            await work()

    assert cancelled
    assert gate.in_flight("amortized") == 0


async def test_a_timeout_inside_the_body_is_not_mistaken_for_the_deadline() -> None:
    """Only the admission's own clock makes a DeadlineExceeded."""
    with pytest.raises(TimeoutError):
        async with admission().admit("amortized"):
            raise TimeoutError("of somebody else")


async def test_a_cancelled_request_gives_its_permit_back() -> None:
    """A client that disconnects leaves nothing behind."""
    gate = admission()

    async def hold() -> None:
        async with gate.admit("amortized"):
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await asyncio.sleep(0)
    assert gate.in_flight("amortized") == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert gate.in_flight("amortized") == 0


async def test_settings_give_each_mode_its_own_limits() -> None:
    """The names in the settings reach the pool that they name."""
    gate = Admission.from_settings(Settings(amortized_permits=2, non_amortized_permits=1))

    async with gate.admit("non_amortized"), gate.admit("amortized"), gate.admit("amortized"):
        for mode in ("amortized", "non_amortized"):
            with pytest.raises(Overloaded, match=mode):
                async with gate.admit(mode):
                    raise AssertionError("admitted")
