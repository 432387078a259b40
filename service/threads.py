"""ThreadPool: blocking work on threads, awaited from the event loop, and dropped when nobody awaits it any more.

Three kinds of work share the threads, each only where it takes nothing from the one before:

    urgent       what somebody waits for; in order of arrival
    help         parts of urgent work under way, for threads that would be idle; given back as soon as urgent work waits
    background   what nobody waits for yet; begins only where it leaves another thread idle (spare_threads.py)

So a lone request is spread over all threads and a busy pool gives each request one, without a thread too many. It does
not know what the work is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Cancelled = Callable[[], bool]
_Job = Callable[[], None]


class ThreadPool:
    """So many threads, alive from the start, each of which ran `prepare` first.

    Work has the context variables of whoever submitted it. `waited` is told, on the work's thread, how many seconds
    each urgent piece waited for one.
    """

    def __init__(
        self,
        threads: int,
        name: str,
        prepare: Callable[[], None],
        waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._waited = waited
        self._size = threads
        self._busy = 0
        self._closing = False
        self._lock = threading.Lock()  # of `_busy` and of choosing what to do next
        self._urgent: deque[_Job] = deque()
        self._help: deque[_Job] = deque()
        self._background: OrderedDict[asyncio.Future[Any], _Job] = OrderedDict()
        self._wake: SimpleQueue[None] = SimpleQueue()  # one entry for each time that a thread should look
        prepared: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._live, args=(prepare, prepared), name=f"{name}-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()
        for error in [prepared.get() for _ in self._threads]:
            if error is not None:
                self.close()
                raise error

    @property
    def idle(self) -> int:
        """Threads with nothing to do; none while something urgent waits."""
        return 0 if self._urgent else self._size - self._busy

    @property
    def busy(self) -> int:
        """Threads at work."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Pieces of urgent work that no thread has begun."""
        return len(self._urgent)

    @property
    def contended(self) -> bool:
        """Urgent work waits and no thread is free, or the pool is closing: what can stop should."""
        return self._closing or (bool(self._urgent) and self._busy >= self._size)

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Run on a free thread. Cancelling the future drops work that no thread has begun."""
        future, job = _awaited(lambda: function(*args, **kwargs))
        self._add(self._urgent, job)
        return future

    def submit_stoppable(self, function: Callable[..., R], *args: Any) -> asyncio.Future[R]:
        """The same for work that takes a function as its last argument and asks it, now and then: cancelled?"""
        future, job = _awaited(lambda: function(*args, future.cancelled))
        self._add(self._urgent, job)
        return future

    def submit_two(
        self, first: Callable[[], R], second: Callable[[R, Cancelled], S]
    ) -> tuple[asyncio.Future[R], asyncio.Future[S]]:
        """Run `second(first(), cancelled)` in one trip to a thread; each result is awaited on its own.

        Cancelling one future drops its step, or tells `second`. When `first` raises, `second` never runs and its
        future stays pending: await the first one first.
        """
        loop = asyncio.get_running_loop()
        firsts: asyncio.Future[R] = loop.create_future()
        seconds: asyncio.Future[S] = loop.create_future()

        def both() -> None:
            if firsts.cancelled():
                return
            try:
                result = first()
            except Exception as error:
                _settle(loop, firsts, firsts.set_exception, error)
                return
            _settle(loop, firsts, firsts.set_result, result)
            if not seconds.cancelled():
                _finish(loop, seconds, lambda: second(result, seconds.cancelled))

        self._add(self._urgent, both)
        return firsts, seconds

    def submit_background(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Run when a thread can be spared. Cancelling the future drops work that no thread has begun."""
        if self._closing:
            raise RuntimeError("the pool is closed")
        future, job = _awaited(lambda: function(*args, **kwargs))
        self._background[future] = partial(copy_context().run, job)
        future.add_done_callback(self._take)
        self._wake.put(None)
        return future

    def hurry(self, future: asyncio.Future[Any]) -> None:
        """Somebody waits for this background work after all: it is urgent from now on, unless a thread has begun it."""
        if job := self._take(future):
            self._add(self._urgent, job)

    def spread(self, work: Callable[[S], None], parts: Sequence[S], most: int) -> None:
        """Run `work` on each part, here and on at most `most` − 1 idle threads; for use on a thread of this pool.

        Returns when all parts are done. Other threads leave after a part when urgent work waits; the rest is done here.
        Raises what a part raised; parts that nobody has begun are dropped then.
        """
        task = _Shared(work, parts)
        for _ in range(min(most, self.idle + 1, len(parts)) - 1):
            self._add(self._help, lambda: task.help(until=lambda: bool(self._urgent)))
        task.finish()

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run on a free thread and block until it is done: for loading, never on the event loop."""
        return self._begin(lambda: function(*args, **kwargs)).result()

    def run_on_each(self, function: Callable[[], None]) -> None:
        """Run once for every thread, side by side, and block: idle threads get one each, busy ones are not waited for
        by the others."""
        for started in [self._begin(function) for _ in range(self._size)]:
            started.result()

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._closing = True
        for _ in self._threads:
            self._wake.put(None)
        for thread in self._threads:
            thread.join()

    def _begin(self, function: Callable[[], R]) -> Future[R]:
        started: Future[R] = Future()

        def job() -> None:
            try:
                started.set_result(function())
            except BaseException as error:
                started.set_exception(error)

        self._add(self._urgent, job)
        return started

    def _take(self, future: asyncio.Future[Any]) -> _Job | None:
        """Background work that no thread has begun; it is no longer in line."""
        with self._lock:
            return self._background.pop(future, None)

    def _add(self, queue: deque[_Job], job: _Job) -> None:
        if self._closing:
            raise RuntimeError("the pool is closed")
        asked, run = time.perf_counter(), copy_context().run

        def begin() -> None:
            if queue is self._urgent:
                self._waited(time.perf_counter() - asked)
            run(job)

        queue.append(begin)
        self._wake.put(None)

    def _live(self, prepare: Callable[[], None], prepared: SimpleQueue[BaseException | None]) -> None:
        try:
            prepare()
        except BaseException as error:
            prepared.put(error)
            return
        prepared.put(None)
        while not self._closing:
            job = self._next()
            if job is None:
                self._wake.get()
                continue
            try:
                job()
            finally:
                with self._lock:
                    self._busy -= 1

    def _next(self) -> _Job | None:
        with self._lock:
            if waiting := self._urgent or self._help:
                self._busy += 1
                return waiting.popleft()
            if self._background and (self._busy + 2 <= self._size or self._size == 1):
                self._busy += 1
                return self._background.popitem(last=False)[1]
        return None


class _Shared:
    """One piece of work on several threads."""

    def __init__(self, work: Callable[[S], None], parts: Sequence[S]) -> None:
        self._work: Callable[[Any], None] = work
        self._waiting: deque[Any] = deque(parts)
        self._error: BaseException | None = None
        self._lock = threading.Lock()  # of the two below
        self._helpers = 0
        self._closed = False
        self._left = threading.Event()

    def help(self, until: Callable[[], bool]) -> None:
        """Do parts until none waits, or `until` says so; nothing, once the owner is through."""
        with self._lock:
            if self._closed:
                return
            self._helpers += 1
        self._drain(until)
        with self._lock:
            self._helpers -= 1
            if self._closed and not self._helpers:
                self._left.set()

    def finish(self) -> None:
        """The owner's side: do what waits, take no more helpers, wait for those at work, raise what a part raised."""
        self._drain(lambda: False)
        with self._lock:
            self._closed = True
            busy = self._helpers > 0
        if busy:
            self._left.wait()
        if self._error is not None:
            raise self._error

    def _drain(self, until: Callable[[], bool]) -> None:
        try:
            while not until():
                try:
                    part = self._waiting.popleft()
                except IndexError:
                    return
                self._work(part)
        except BaseException as error:
            self._error = error
            self._waiting.clear()


def _awaited(function: Callable[[], R]) -> tuple[asyncio.Future[R], _Job]:
    """A job that settles a future of the running loop's, and does nothing once that is cancelled."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()
    return future, lambda: None if future.cancelled() else _finish(loop, future, function)


def _finish(loop: asyncio.AbstractEventLoop, future: asyncio.Future[R], function: Callable[[], R]) -> None:
    try:
        result = function()
    except Exception as error:
        _settle(loop, future, future.set_exception, error)
    else:
        _settle(loop, future, future.set_result, result)


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], settle: Callable[[R], None], outcome: R
) -> None:
    """Settle a future of the loop's from this thread, unless it was cancelled or the loop is gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: None if future.done() else settle(outcome))
