"""Settling: futures of the event loop's that work on other threads settles. It does not know which threads, or when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")
Job = Callable[[], None]


def awaited(function: Callable[[], R]) -> tuple[asyncio.Future[R], Job]:
    """A job that settles a future of the running loop's, and does nothing once that is cancelled."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()
    return future, lambda: None if future.cancelled() else finish(loop, future, function)


def finish(loop: asyncio.AbstractEventLoop, future: asyncio.Future[R], function: Callable[[], R]) -> None:
    try:
        result = function()
    except Exception as error:
        settle(loop, future, future.set_exception, error)
    else:
        settle(loop, future, future.set_result, result)


def settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], settle: Callable[[R], None], outcome: R
) -> None:
    """Settle a future of the loop's from this thread, unless it was cancelled or the loop is gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: None if future.done() else settle(outcome))
