"""A Redis of one's own that can be killed, stopped, restarted and made to follow another."""

from __future__ import annotations

import os

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError
from redis.retry import Retry

from loadtests.faults.redis_server import DURABLE, RedisServer


def test_it_comes_back_on_its_port_with_what_it_had_acknowledged() -> None:
    """Killed with SIGKILL and started again: same port, same data, settings as given."""
    with RedisServer(*DURABLE) as redis:
        port = redis.port
        redis.command("SET", "a", 1)
        redis.kill()
        with pytest.raises(ConnectionError, match="refused"):
            redis.command("GET", "a")
        redis.start()
        assert redis.port == port
        assert redis.command("GET", "a") == b"1"
        pid = redis.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_stopped_server_answers_nobody_until_it_is_resumed() -> None:
    """Connections are taken by the kernel, and nothing comes back."""
    with RedisServer() as redis, Redis(port=redis.port, socket_timeout=0.1, retry=Retry(NoBackoff(), 0)) as client:
        redis.stop()
        with pytest.raises(TimeoutError):
            client.ping()
        redis.resume()
        assert redis.command("PING")


def test_a_replica_follows_and_takes_writes_once_promoted() -> None:
    """It refuses writes while it follows, and holds what the master had when it takes over."""
    with RedisServer() as master, RedisServer() as replica:
        replica.follow(master.port)
        master.command("SET", "a", 1)
        assert master.command("WAIT", 1, 5000) == 1
        with pytest.raises(ReadOnlyError):
            replica.command("SET", "a", 2)
        master.kill()
        replica.promote()
        assert replica.command("GET", "a") == b"1"
        replica.command("SET", "a", 2)


def test_settings_can_be_changed_while_it_runs() -> None:
    """As an operator would, by CONFIG SET."""
    with RedisServer("--maxmemory", "50mb") as redis:
        assert redis.command("CONFIG", "GET", "maxmemory")[b"maxmemory"] == b"52428800"
        redis.configure("maxmemory", 1)
        assert redis.command("CONFIG", "GET", "maxmemory")[b"maxmemory"] == b"1"


def test_it_can_be_waited_for_until_its_files_are_as_wanted() -> None:
    """A rewritten log is what it starts from."""
    with RedisServer(*DURABLE) as redis:
        redis.command("DEBUG", "POPULATE", 3)  # never logged by itself
        redis.command("BGREWRITEAOF")
        redis.until("aof_rewrite_in_progress", 0)
        redis.kill()
        redis.start()
        assert redis.command("DBSIZE") == 3
