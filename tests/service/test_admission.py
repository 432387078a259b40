"""Admission: permits, shedding, deadlines."""

from __future__ import annotations

import asyncio

import pytest

from service.admission import Admission, Limits
from service.errors import DeadlineExceeded, Overloaded
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


async def test_retry_after_follows_the_recent_service_time() -> None:
    """Who is shed is told about how long a permit is held."""
    gate = admission()
    async with gate.admit("amortized"):
        await asyncio.sleep(0.02)

    async with gate.admit("amortized"):
        with pytest.raises(Overloaded) as refused:
            async with gate.admit("amortized"):
                raise AssertionError("admitted")

    assert refused.value.retry_after_seconds >= 0.02


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
