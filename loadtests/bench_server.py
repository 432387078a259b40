"""A server process for the benchmarks, kept on cores of its own, and a blocking client that costs next to nothing.

It does not know what is asked or measured.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

from loadtests.bench_bundles import NAMESPACE
from loadtests.child import Child, child
from loadtests.serving import READY

START_SECONDS = 120.0
STOP_SECONDS = 20.0


class Cores(NamedTuple):
    """server: where the service may run · generator: where its clients and Redis may."""

    server: frozenset[int]
    generator: frozenset[int]

    @classmethod
    def divided(cls) -> Cores:
        """The last core for generator and Redis, the others for the service; one core is shared by all."""
        *server, last = sorted(os.sched_getaffinity(0))
        return cls(frozenset(server or [last]), frozenset([last]))

    def __str__(self) -> str:
        server, generator = (", ".join(map(str, sorted(cores))) for cores in self)
        return f"service on cores {server}; generator and Redis on {generator}"


@contextlib.contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """This thread runs on `cores` for as long."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Reply(NamedTuple):
    status: int
    headers: bytes
    body: bytes


@dataclass(frozen=True)
class Serving:
    url: str
    process: psutil.Process

    def memory_mb(self) -> float:
        """Resident memory now."""
        return float(self.process.memory_info().rss) / 2**20

    def peak_mb(self) -> float:
        """Highest resident memory since its start, or since `forget_peak` (Linux)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def serving(
    repository: Path, redis_url: str, cores: frozenset[int], settings: Mapping[str, object]
) -> Iterator[Serving]:
    """`python -m service serve` on `cores`. settings: names as in service/settings.py."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RANKER_", "OMP_", "MKL_"))
    }
    given = {"redis_url": redis_url, "namespace": NAMESPACE, "port": 0, "model_repository": repository, **settings}
    environment |= {f"RANKER_{name.upper()}": str(value) for name, value in given.items()}
    with started([sys.executable, "-m", "service", "serve"], environment, cores, READY.search) as process:
        yield process


def module(name: str, *options: str, cores: frozenset[int]) -> AbstractContextManager[Serving]:
    """`python -m name` on `cores`, without settings for torch's threads; it says `ready at URL`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_"))}
    return started([sys.executable, "-m", name, *options], environment, cores, READY.search)


@contextlib.contextmanager
def started(
    command: list[str], environment: Mapping[str, str], cores: frozenset[int], ready: Callable[[str], object]
) -> Iterator[Serving]:
    """A process on `cores` that says on stderr where it listens. Raises RuntimeError with its last words."""
    with child(command, STOP_SECONDS, environment, cores) as running:
        yield Serving(_url(running, ready), psutil.Process(running.process.pid))


def _url(running: Child, ready: Callable[[str], object]) -> str:
    give_up = time.monotonic() + START_SECONDS
    while running.process.poll() is None and time.monotonic() < give_up:
        for line in list(running.log):
            if found := ready(line):
                return str(found[1])  # type: ignore[index]
        time.sleep(0.01)
    raise RuntimeError(f"the server did not start:\n{running.last_words}")


class Client:
    """One keep-alive connection over a blocking socket: with one request at a time nothing is cheaper."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = f"{parts.hostname}:{parts.port}"
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=60.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def post(self, body: bytes, path: str = "/v1/rank", media_type: str = "application/json") -> Reply:
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: {media_type}\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return self._receive()

    def get(self, path: str) -> Reply:
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        return self._receive()

    def _receive(self) -> Reply:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._some()
        headers = data[:end].lower()
        _, _, rest = headers.partition(b"content-length:")
        missing = int(rest.split(b"\r\n", 1)[0]) - (len(data) - end - 4)
        parts = [data[end + 4 :]]
        while missing > 0:
            parts.append(self._some())
            missing -= len(parts[-1])
        return Reply(int(data[9:12]), headers, b"".join(parts))

    def _some(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data
