"""RedisServer: a real Redis process of one's own on a TCP port, to kill, stop, restart, starve and fail over.

It keeps its port and its folder over restarts. It dies with its parent. It does not know what is stored.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.embedded_redis import dying_with_parent, find_server

START_SECONDS = 20.0
ANSWER_SECONDS = 5.0
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
"""Nothing that was acknowledged is lost when the process is killed."""


class RedisServer:
    """`with RedisServer(*DURABLE) as redis: redis.url`. settings: further words of its command line."""

    def __init__(self, *settings: str) -> None:
        self.port = _free_port()
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="rankonce-chaos-")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it, or start it again on the same port and files; returns once it answers, its data loaded."""
        assert self._process is None, "it runs"
        command = [str(find_server()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", self._folder.name, "--repl-diskless-sync-delay", "0", *self._settings]
        with Path(self._folder.name, "log").open("ab") as log:
            self._process = subprocess.Popen(
                dying_with_parent(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        give_up = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"Redis did not start: {Path(self._folder.name, 'log').read_text()[-500:]}")
            time.sleep(0.005)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out: it gets no chance to tidy up. Safe to call again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: object) -> Any:
        """One command over a connection of its own."""
        once = Retry(NoBackoff(), 0)
        with Redis(port=self.port, socket_timeout=ANSWER_SECONDS, retry=once) as client:
            return client.execute_command(*map(str, words))

    def configure(self, name: str, value: object) -> None:
        self.command("CONFIG", "SET", name, value)

    def until(self, name: str, value: object) -> None:
        """Returns once this field of INFO's part about persistence has this value."""
        give_up = time.monotonic() + START_SECONDS
        while self.command("INFO", "persistence")[name] != value:
            assert time.monotonic() < give_up, f"{name} did not become {value}"
            time.sleep(0.01)

    def follow(self, port: int) -> None:
        """Become a replica of the server, or proxy, on this port of 127.0.0.1; returns once it is in step."""
        self.command("REPLICAOF", "127.0.0.1", port)
        give_up = time.monotonic() + START_SECONDS
        while self.command("ROLE")[3] != b"connected":
            assert time.monotonic() < give_up, "the replica did not connect"
            time.sleep(0.01)

    def promote(self) -> None:
        """Stop following: from now on it takes writes."""
        self.command("REPLICAOF", "NO", "ONE")

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except (RedisError, OSError):  # nobody listens yet, or it still loads
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
