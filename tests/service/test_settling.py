"""Settling: results and errors from other threads reach who awaits them, if anybody does."""

from __future__ import annotations

import asyncio

import pytest

from service.settling import awaited


async def test_a_result_or_an_error_is_awaited_on_the_loop() -> None:
    """Whichever the job came to, on whichever thread."""
    future, job = awaited(lambda: 7)
    await asyncio.to_thread(job)
    assert await future == 7

    future, job = awaited(lambda: 7 // 0)
    await asyncio.to_thread(job)
    with pytest.raises(ZeroDivisionError):
        await future


async def test_a_job_that_nobody_awaits_is_not_done() -> None:
    """A future that was cancelled makes its job nothing."""
    done: list[int] = []
    future, job = awaited(lambda: done.append(1))
    future.cancel()
    await asyncio.to_thread(job)

    assert done == []


def test_a_loop_that_has_ended_is_told_nothing() -> None:
    """The work may outlive it."""

    async def begin() -> object:
        return awaited(lambda: 7)[1]

    job = asyncio.run(begin())
    assert callable(job)
    job()
