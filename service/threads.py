"""ThreadPool: blocking work on threads, awaited from the event loop, and dropped when nobody awaits it any more.

Three kinds of work share the threads, each only where it takes nothing from the one before:

    urgent       what somebody waits for, in order of arrival; between two parts of long work each short piece waiting
                 has a turn, so that a huge request delays small ones by a part and no more
    help         parts of urgent work under way, for threads that would be idle; given back as soon as urgent work waits
    background   what nobody waits for yet; begins only where it leaves another thread idle (spare_threads.py)

So a lone request is spread over all threads and a busy pool gives each request one, without a thread too many. It does
not know what the work is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, ParamSpec, TypeVar

from service.settling import awaited, finish, settle
from service.shared_work import SharedWork

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Cancelled = Callable[[], bool]
_Job = Callable[[], None]


class _Urgent(NamedTuple):
    asked: float
    run: _Job


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
        self._turns = threading.local()
        self._begun: dict[int, float] = {}  # by thread: when what it is at began, of long work the part
        self._closing = False
        self._lock = threading.Lock()  # of `_busy` and of choosing what to do next
        self._short: deque[_Urgent] = deque()
        self._long: deque[_Urgent] = deque()
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
        return 0 if self.waiting else self._size - self._busy

    @property
    def busy(self) -> int:
        """Threads at work."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Pieces of urgent work that no thread has begun."""
        return len(self._short) + len(self._long)

    @property
    def longest(self) -> float:
        """Seconds that a thread has been at one piece of urgent work, or one part of it; the longest of all threads."""
        return max((time.perf_counter() - begun for begun in list(self._begun.values())), default=0.0)

    @property
    def contended(self) -> bool:
        """Urgent work waits and no thread is free, or the pool is closing: what can stop should."""
        return self._closing or (self.waiting > 0 and self._busy >= self._size)

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Run on a free thread. Cancelling the future drops work that no thread has begun."""
        future, job = awaited(lambda: function(*args, **kwargs))
        self._add(job)
        return future

    def submit_stoppable(self, function: Callable[..., R], *args: Any, long: bool = False) -> asyncio.Future[R]:
        """The same for work that takes a function as its last argument and asks it, now and then: cancelled?

        long: it has several parts, between which it calls `spread`'s turns; only such work may take long
        """
        future, job = awaited(lambda: function(*args, future.cancelled))
        self._add(job, long)
        return future

    def submit_two(
        self, first: Callable[[], R], second: Callable[[R, Cancelled], S], long: bool = False
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
                settle(loop, firsts, firsts.set_exception, error)
                return
            settle(loop, firsts, firsts.set_result, result)
            if not seconds.cancelled():
                finish(loop, seconds, lambda: second(result, seconds.cancelled))

        self._add(both, long)
        return firsts, seconds

    def submit_background(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Run when a thread can be spared. Cancelling the future drops work that no thread has begun."""
        if self._closing:
            raise RuntimeError("the pool is closed")
        future, job = awaited(lambda: function(*args, **kwargs))
        self._background[future] = partial(copy_context().run, job)
        future.add_done_callback(self._take)
        self._wake.put(None)
        return future

    def hurry(self, future: asyncio.Future[Any]) -> None:
        """Somebody waits for this background work after all: it is urgent from now on, unless a thread has begun it."""
        if job := self._take(future):
            self._add(job)

    def spread(self, work: Callable[[S], None], parts: Sequence[S], most: int) -> float:
        """Run `work` on each part, here and on at most `most` − 1 idle threads; for use on a thread of this pool.

        Returns when all parts are done: how many seconds of that other work was given turns here. Other threads leave
        after a part when urgent work waits; the rest is done here. Raises what a part raised; parts that nobody has
        begun are dropped then.
        """

        def begin(part: S) -> None:
            self._begun[threading.get_ident()] = time.perf_counter()
            work(part)

        if len(parts) == 1:
            begin(parts[0])
            return 0.0
        task = SharedWork(begin, parts)
        for _ in range(min(most, self.idle + 1, len(parts)) - 1):
            self._help.append(partial(copy_context().run, lambda: task.help(until=lambda: self.waiting > 0)))
            self._wake.put(None)
        given = 0.0

        def between() -> None:
            nonlocal given
            given += self._give_turns()

        task.finish(between)
        return given

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

        self._add(job)
        return started

    def _take(self, future: asyncio.Future[Any]) -> _Job | None:
        """Background work that no thread has begun; it is no longer in line."""
        with self._lock:
            return self._background.pop(future, None)

    def _add(self, job: _Job, long: bool = False) -> None:
        if self._closing:
            raise RuntimeError("the pool is closed")
        asked, run = time.perf_counter(), copy_context().run

        def begin() -> None:
            self._begun[threading.get_ident()] = now = time.perf_counter()
            self._waited(now - asked)
            run(job)

        (self._long if long else self._short).append(_Urgent(asked, begin))
        self._wake.put(None)

    def _give_turns(self) -> float:
        """On a thread whose work is long and between two parts: do each short piece that waits now. In seconds."""
        if not self._short or self._turns.given or self._closing:
            return 0.0
        start = time.perf_counter()
        self._turns.given = True  # what is given a turn gives none: turns do not pile up
        try:
            for _ in range(len(self._short)):
                with self._lock:
                    piece = self._short.popleft() if self._short else None
                if piece is None:  # other threads had the rest
                    break
                piece.run()
        finally:
            self._turns.given = False
        return time.perf_counter() - start

    def _live(self, prepare: Callable[[], None], prepared: SimpleQueue[BaseException | None]) -> None:
        try:
            prepare()
        except BaseException as error:
            prepared.put(error)
            return
        prepared.put(None)
        self._turns.given = False
        while not self._closing:
            job = self._next()
            if job is None:
                self._wake.get()
                continue
            try:
                job()
            finally:
                self._begun.pop(threading.get_ident(), None)
                with self._lock:
                    self._busy -= 1

    def _next(self) -> _Job | None:
        with self._lock:
            if self._short or self._long:
                self._busy += 1
                return min((q for q in (self._short, self._long) if q), key=lambda queue: queue[0].asked).popleft().run
            if self._help:
                self._busy += 1
                return self._help.popleft()
            if self._background and (self._busy + 2 <= self._size or self._size == 1):
                self._busy += 1
                return self._background.popitem(last=False)[1]
        return None
