"""Watchdog: an inference thread that does not come back ends the process, so that whoever runs it starts another.

A thread cannot be stopped from outside, and each one that hangs takes its share of the capacity along for good. So the
service first says that it is not ready, so that requests go elsewhere, answers those that it has, and then exits. It
watches from a thread of its own, since the event loop may wait for the very thread. It does not know what threads
are at.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator

from service.health import Readiness

log = logging.getLogger(__name__)

EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h: an internal error, and nothing that a caller did."""
GRACE_SECONDS = 5.0
_LOOKS = 4  # within the bound


class Watchdog:
    """longest: for how many seconds a thread has been at one pass · bound: how many it may · grace: how many more until
    the process exits. A thread that comes back in that time makes the service ready again."""

    def __init__(
        self,
        longest: Callable[[], float],
        readiness: Readiness,
        bound: float,
        grace: float = GRACE_SECONDS,
        exit_: Callable[[int], object] = os._exit,
    ) -> None:
        self._longest = longest
        self._readiness = readiness
        self._bound = bound
        self._grace = grace
        self._exit = exit_
        self._ended = threading.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._bound / _LOOKS)):
            if self._readiness.phase != "starting":  # loading a bundle takes as long as it takes
                self._look()

    def _look(self) -> None:
        seconds = self._longest()
        stuck = seconds > self._bound
        if stuck != self._readiness.stuck:
            self._readiness.stuck = stuck
            if stuck:
                log.error("an inference thread has not come back for %.1f s: not ready; exit soon", seconds)
            else:
                log.warning("the inference thread has come back: ready again")
        if seconds > self._bound + self._grace:
            log.critical("an inference thread has not come back for %.1f s: exiting", seconds)
            self._exit(EXIT_STATUS)
