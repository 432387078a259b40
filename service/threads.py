"""ThreadPool: blocking work on threads, awaited from the event loop, and dropped when nobody awaits it any more.

It does not know what the work is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class ThreadPool:
    """So many threads, alive from the start, each of which ran `prepare` first."""

    def __init__(self, threads: int, name: str, prepare: Callable[[], None]) -> None:
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, name, initializer=prepare)
        together = threading.Barrier(threads)  # a thread is started only while all others are busy
        for started in [self._executor.submit(together.wait) for _ in range(threads)]:
            started.result()

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Run on a free thread. Cancelling the future drops work that no thread has begun."""
        return asyncio.wrap_future(self._executor.submit(function, *args, **kwargs))

    def submit_stoppable(self, function: Callable[..., R], *args: Any) -> asyncio.Future[R]:
        """The same for work that takes an Event as its last argument and looks at it: set on cancellation."""
        stop = threading.Event()
        future = self.submit(function, *args, stop)
        future.add_done_callback(lambda done: stop.set() if done.cancelled() else None)
        return future

    def submit_two(
        self, first: Callable[[], R], second: Callable[[R, threading.Event], S]
    ) -> tuple[asyncio.Future[R], asyncio.Future[S]]:
        """Run `second(first(), stop)` in one trip to a thread; each result is awaited on its own.

        Cancelling one future drops its step, or stops `second`. When `first` raises, `second` never runs and its
        future stays pending: await the first one first.
        """
        loop = asyncio.get_running_loop()
        firsts: asyncio.Future[R] = loop.create_future()
        seconds: asyncio.Future[S] = loop.create_future()
        drop, stop = _cancellation(firsts), _cancellation(seconds)

        def both() -> None:
            if drop.is_set():
                return
            try:
                result = first()
            except Exception as error:
                _settle(loop, firsts, firsts.set_exception, error)
                return
            _settle(loop, firsts, firsts.set_result, result)
            if stop.is_set():
                return
            try:
                _settle(loop, seconds, seconds.set_result, second(result, stop))
            except Exception as error:
                _settle(loop, seconds, seconds.set_exception, error)

        self._executor.submit(both)
        return firsts, seconds

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run on a free thread and block until it is done: for loading, never on the event loop."""
        return self._executor.submit(function, *args, **kwargs).result()

    def run_on_each(self, function: Callable[[], None]) -> None:
        """Run once for every thread, side by side, and block: idle threads get one each, busy ones are not waited for
        by the others."""
        for started in [self._executor.submit(function) for _ in range(self._threads)]:
            started.result()

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def _cancellation(future: asyncio.Future[Any]) -> threading.Event:
    """An event that another thread may look at, set when the future is cancelled."""
    event = threading.Event()
    future.add_done_callback(lambda done: event.set() if done.cancelled() else None)
    return event


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], settle: Callable[[R], None], outcome: R
) -> None:
    """Settle a future of the loop's from this thread, unless it was cancelled or the loop is gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: None if future.done() else settle(outcome))
