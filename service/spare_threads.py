"""SpareThreads: a thread pool as seen by work that must cost nobody anything. It does not know what the work is.

It begins only where that leaves another thread idle, stays on its one thread, and gives that back, unfinished, as soon
as urgent work waits for a thread and none is free.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from service.threads import Cancelled, ThreadPool

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class GivenBack(Exception):
    """The work was stopped, because urgent work needed its thread."""


class SpareThreads:
    """What a ranker asks of a pool, with the pool's spare threads. Futures raise GivenBack beside the work's errors."""

    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool

    @property
    def idle(self) -> int:
        """Threads that could help: none, whatever the others do."""
        return 0

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        return self._pool.submit_background(function, *args, **kwargs)

    submit_background = submit

    def hurry(self, future: asyncio.Future[Any]) -> None:
        """Somebody waits for `submit`'s work after all."""
        self._pool.hurry(future)

    def submit_stoppable(self, function: Callable[..., R], *args: Any, long: bool = False) -> asyncio.Future[R]:  # noqa: ARG002
        """For work that takes a function as its last argument and asks it, now and then: cancelled?"""
        dropped = threading.Event()
        needed = False

        def stop() -> bool:
            nonlocal needed
            needed = needed or self._pool.contended
            return needed or dropped.is_set()

        def work() -> R:
            try:
                return function(*args, stop)
            except Exception as error:
                if needed:  # what it raises then is its way to stop
                    raise GivenBack from error
                raise

        future: asyncio.Future[R] = self._pool.submit_background(work)
        future.add_done_callback(lambda done: dropped.set() if done.cancelled() else None)
        return future

    def submit_two(
        self, first: Callable[[], R], second: Callable[[R, Cancelled], S], long: bool = False
    ) -> tuple[asyncio.Future[R], asyncio.Future[S]]:
        """As the pool's, but for that the first result comes with the second."""

        def both(stop: Cancelled) -> tuple[R, S]:
            result = first()
            return result, second(result, stop)

        together = self.submit_stoppable(both, long=long)
        return _part(together, 0), _part(together, 1)

    def spread(self, work: Callable[[S], None], parts: Sequence[S], most: int) -> float:  # noqa: ARG002 - the pool's
        for part in parts:
            work(part)
        return 0.0


Threads = ThreadPool | SpareThreads


def _part(together: asyncio.Future[tuple[Any, ...]], index: int) -> asyncio.Future[Any]:
    """One of several results. Cancelling it gives up all of them."""
    part = asyncio.get_running_loop().create_future()

    def pass_on(done: asyncio.Future[tuple[Any, ...]]) -> None:
        if part.done():
            return
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or (error is not None and index > 0):
            part.cancel()  # whoever waits has the error from the first part
        elif error is not None:
            part.set_exception(error)
        else:
            part.set_result(done.result()[index])

    together.add_done_callback(pass_on)
    part.add_done_callback(lambda done: together.cancel() if done.cancelled() else None)
    return part
