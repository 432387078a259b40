"""Context: what the code at hand works for, on whatever task it runs."""

from __future__ import annotations

import asyncio

import pytest

from service import context
from service.context import TraceContext
from service.threads import ThreadPool

PLACE = TraceContext("a" * 32, "b" * 16, sampled=True)


@pytest.mark.parametrize(("sampled", "flags"), [(True, "01"), (False, "00")])
def test_a_place_is_written_as_the_recommendation_says(sampled: bool, flags: str) -> None:
    """Version, trace, span and the sampled flag."""
    assert PLACE._replace(sampled=sampled).header() == f"00-{'a' * 32}-{'b' * 16}-{flags}"


@pytest.mark.parametrize(
    ("place", "trace_id"), [(None, None), (PLACE, "a" * 32), (PLACE._replace(sampled=False), None)]
)
def test_only_a_recorded_trace_is_pointed_at(place: TraceContext | None, trace_id: str | None) -> None:
    """An exemplar of a trace that nobody kept would lead nowhere."""
    token = context.trace.set(place)
    try:
        assert context.sampled_trace_id() == trace_id
    finally:
        context.trace.reset(token)


async def test_it_follows_a_request_into_its_tasks_and_no_further() -> None:
    """A task has what its maker had; what a task sets is its own."""

    async def inner() -> str | None:
        seen = context.request_id.get()
        context.request_id.set("inner")
        return seen

    async def request() -> tuple[str | None, str | None]:
        context.request_id.set("outer")
        return await asyncio.create_task(inner()), context.request_id.get()

    assert await asyncio.create_task(request()) == ("outer", "outer")
    assert context.request_id.get() is None


async def test_it_follows_a_request_onto_the_threads_that_work_for_it() -> None:
    """A ranker that raises on a pool's thread logs under the request's id, also where several requests share it."""
    pool = ThreadPool(1, "test", lambda: None)

    async def request(name: str) -> list[str | None]:
        context.request_id.set(name)
        first, second = pool.submit_two(context.request_id.get, lambda _, __: context.request_id.get())
        background = pool.submit_background(context.request_id.get)
        return [await pool.submit(context.request_id.get), await first, await second, await background]

    try:
        found = await asyncio.gather(*(asyncio.create_task(request(name)) for name in ("a", "b")))
    finally:
        pool.close()

    assert found == [["a"] * 4, ["b"] * 4]
