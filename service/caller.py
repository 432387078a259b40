"""Caller: how long whoever sent a request waits for its answer: until a deadline of theirs, or until they hang up.

It does not know what is asked, or how long the service itself would take.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.errors import InvalidRequest

T = TypeVar("T")

DEADLINE_HEADER = "X-Request-Deadline-Ms"
LISTEN_AFTER_SECONDS = 0.02
"""A task that listens costs as much as a small answer's encoding; most requests are answered before it would start."""

_MILLISECONDS = re.compile(r"[0-9]{1,8}")


def give_up_at(header: str | None, now: float) -> float | None:
    """The moment after which an answer is of no use; None where the caller set none. Raises InvalidRequest.

    header: milliseconds from receipt, which was at `now`
    """
    if header is None:
        return None
    if not _MILLISECONDS.fullmatch(header):
        raise InvalidRequest(DEADLINE_HEADER, "must be a whole number of milliseconds, of at most 8 digits")
    return now + int(header) / 1e3


async def while_connected(receive: Receive, work: Awaitable[T], listen_after: float = LISTEN_AFTER_SECONDS) -> T:
    """Await `work`, and cancel it when the caller hangs up. Raises ClientDisconnect then, and whatever `work` raises.

    `receive` must have given the whole body before: all that can still come is the disconnect.
    """
    task = asyncio.current_task()
    assert task is not None
    listening: asyncio.Task[None] | None = None
    gone = False

    async def hear() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def listen() -> None:
        nonlocal listening
        listening = asyncio.create_task(hear())

    timer = asyncio.get_running_loop().call_later(listen_after, listen)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        if listening is not None:
            listening.cancel()
