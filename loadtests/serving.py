"""The service under test: a process of its own with the workload's histories, and what it costs the machine.

It does not know what load is put on it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.child import Child, child
from loadtests.demo import Demo, train_and_export
from loadtests.workload import Workload

DEMO_MODELS = Path("var/demo/synthetic/models")
QUICK = Path("var/loadtests")
NAMESPACE = "loadtest"  # also on a Redis of one's own (RANKER_REDIS_URL) members of the load test keep to themselves
READY = re.compile(r"ready at (http://\S+)")
START_SECONDS = 60
STOP_SECONDS = 45


class ServiceFailed(Exception):
    """It did not start, or ended by itself; the message holds what it said."""


@dataclass(frozen=True)
class Service:
    """log: the lines it has written to stderr so far."""

    url: str
    process: psutil.Process
    log: list[str]

    def cpu_seconds(self) -> float:
        """User and system time so far. Of the service alone: an embedded Redis is another process."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory_mb(self) -> float:
        return float(self.process.memory_info().rss) / 2**20


def find_models(given: Path | None) -> Path:
    """The repository to serve: the one given, the demo's, or one that is trained for a minute and then kept.

    The last is not the demo's folder: `make serve` would take a hasty ranker from there for a trained one.
    """
    if given is not None:
        return given
    if DEMO_MODELS.is_dir():
        return DEMO_MODELS
    quick = Demo("synthetic", QUICK, quick=True)
    if not quick.models.is_dir():
        print(f"no bundle in {DEMO_MODELS}: training a quick one into {quick.models}", flush=True)
        QUICK.mkdir(parents=True, exist_ok=True)
        train_and_export(quick)
    return quick.models


@contextlib.contextmanager
def serving(models: Path, workload: Workload, **settings: str) -> Iterator[Service]:
    """Start the service on a free port with the workload's histories; it is stopped on the way out.

    Its settings are the environment's `RANKER_*`, but for those given by their variables' names; the namespace is the
    load tests' own. Raises ServiceFailed.
    """
    with tempfile.TemporaryDirectory(prefix="rankonce-load-") as folder:
        histories = Path(folder) / "histories.jsonl"
        workload.write_histories(histories)
        words = ("serve", "--port", "0", "--model-repository", models, "--histories", histories)
        command = [sys.executable, "-m", "service", *map(str, words)]
        environment = {**os.environ, "RANKER_NAMESPACE": NAMESPACE, **settings}
        with child(command, STOP_SECONDS, environment) as started:
            yield Service(_wait_until_ready(started), psutil.Process(started.process.pid), started.log)
            if (status := started.process.poll()) is not None:
                raise ServiceFailed(f"the service ended with status {status}\n{started.last_words}")


def _wait_until_ready(started: Child) -> str:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        for line in list(started.log):
            if found := READY.search(line):
                return found[1]
        if started.process.poll() is not None:
            raise ServiceFailed(f"the service ended before it was ready\n{started.last_words}")
        time.sleep(0.02)
    raise ServiceFailed(f"the service was not ready after {START_SECONDS} s\n{started.last_words}")
