"""A running service for tests: a real uvicorn on a real socket, in a thread or in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from service.app import create_app
from service.client import RankClient
from service.settings import Settings

ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0
READY = re.compile(r"ready at (https?://\S+)")


@dataclass(frozen=True)
class Live:
    """A service that answers at `url`. http: raw requests, client: typed ones, settings: what it runs with."""

    url: str
    settings: Settings
    http: httpx.Client
    client: RankClient

    def metric(self, name: str, **labels: str) -> float:
        """A sample's value as /metrics shows it; 0 where there is none."""
        text = self.http.get("/metrics").text
        for line in text.splitlines():
            sample, _, value = line.rpartition(" ")
            found = dict(re.findall(r'(\w+)="([^"]*)"', sample))
            if sample.partition("{")[0] == name and found == labels:
                return float(value)
        return 0.0


@contextlib.contextmanager
def serving(settings: Settings, histories: Path | None = None) -> Iterator[Live]:
    """The service in a thread: quick to start, and its lines count as covered."""
    config = uvicorn.Config(
        create_app(settings, histories), port=0, lifespan="on", log_config=None, ws="none", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="live-service")
    thread.start()
    give_up = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive(), f"the service did not start: {failed}"
        assert time.monotonic() < give_up, "the service did not start in time"
        time.sleep(0.005)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=30.0) as http, RankClient(url) as client:
            yield Live(url, settings, http, client)
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
        assert not thread.is_alive()


@dataclass
class Process:
    """`python -m service …` as a user runs it. log: its stderr so far."""

    popen: subprocess.Popen[str]
    log: list[str]

    def url(self) -> str:
        """Wait for the line that says where it is ready."""
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            if found := READY.search("".join(self.log)):
                return found[1]
            assert self.popen.poll() is None, "".join(self.log)
            time.sleep(0.01)
        raise AssertionError("not ready in time: " + "".join(self.log))


@contextlib.contextmanager
def process(*arguments: object, **environment: str) -> Iterator[Process]:
    """A command in a process of its own; killed in the end if it has not ended by itself."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RANKER_")}
    popen: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, "-m", "service", *map(str, arguments)],
        cwd=ROOT,
        env={**inherited, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    started = Process(popen, [])
    assert popen.stderr is not None
    reader = threading.Thread(target=lambda: started.log.extend(popen.stderr or ()))
    reader.start()
    try:
        yield started
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()
        reader.join()
        popen.stderr.close()
