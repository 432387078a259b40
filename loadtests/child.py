"""Child: a server that a load test starts. Its log is read on the side; in the end it is asked to end, then made to.

It does not know what the server is.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple


class Child(NamedTuple):
    """log: the lines it has written to stderr so far."""

    process: subprocess.Popen[str]
    log: list[str]

    @property
    def last_words(self) -> str:
        return "".join(self.log[-20:])


@contextlib.contextmanager
def child(
    command: Sequence[str],
    stop_seconds: float,
    environment: Mapping[str, str] | None = None,
    cores: frozenset[int] | None = None,
) -> Iterator[Child]:
    """environment: this process's own unless given · cores: where it may run."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(os.sched_setaffinity, 0, cores) if cores else None,
    )
    log: list[str] = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield Child(process, log)
    finally:
        process.terminate()
        try:
            process.wait(stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        if process.stderr:
            process.stderr.close()
