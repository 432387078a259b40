"""SharedWork: one piece of work, cut into parts, on the thread that owns it and on those that help.

It does not know what a part is, or where helpers come from.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

S = TypeVar("S")


class SharedWork:
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

    def finish(self, between: Callable[[], None]) -> None:
        """The owner's side: do what waits, take no more helpers, wait for those at work, raise what a part raised.

        between: called after each part that is not the last
        """

        def go_on() -> bool:
            if begun and self._waiting:
                between()
            begun.append(True)
            return False

        begun: list[bool] = []
        self._drain(go_on)
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
