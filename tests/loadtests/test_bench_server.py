"""The benchmarks' server process: on the cores it was given, gone afterwards, and loud when it does not start."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from loadtests.bench_server import Client, Cores, serving
from service.embedded_redis import EmbeddedRedis


def test_cores_are_divided_and_shared_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator has the last core to itself, as long as that leaves the server one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert Cores.divided() == ({0, 1, 2}, {3})
    assert str(Cores.divided()) == "service on cores 0, 1, 2; generator and Redis on 3"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert Cores.divided() == ({5}, {5})


def test_a_service_answers_on_its_cores_and_ends(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are the ones given, whatever the environment says; two answers come over one connection."""
    monkeypatch.setenv("RANKER_MODEL_REPOSITORY", "nowhere")
    core = frozenset([min(os.sched_getaffinity(0))])
    with EmbeddedRedis() as redis, serving(repository, redis.url, core, {"inference_threads": 1}) as server:
        assert set(server.process.cpu_affinity()) == core
        assert server.memory_mb() > 10
        with Client(server.url) as client:
            body = b'{"member_id": "m", "surface": "feed", "candidates": [{"id": "item-1"}]}'
            ranked, refused, metrics = client.post(body), client.post(b"{}"), client.get("/metrics")

        assert (ranked.status, refused.status, metrics.status) == (200, 422, 200)
        assert b'"rank":1' in ranked.body
        assert b"server-timing" in ranked.headers
        assert b"ranker_pool_threads 1.0" in metrics.body
    assert not psutil.pid_exists(server.process.pid)


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    """Its last words are in the error."""
    with (
        pytest.raises(RuntimeError, match="holds no bundle"),
        serving(tmp_path, "redis://127.0.0.1:1", frozenset(os.sched_getaffinity(0)), {}),
    ):
        pass
