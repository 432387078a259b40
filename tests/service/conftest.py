"""Fixtures for the service's tests: one real Redis server for the whole run, and running services on it."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from redis import Redis

from model.bundle import Manifest
from service.embedded_redis import EmbeddedRedis
from service.histories import InMemoryHistoryStore
from service.redis_histories import RedisHistoryStore
from service.settings import Settings
from tests.browser import chromium
from tests.live import Live, serving
from tests.service.reloads import Bystander, Loader
from tests.service.stores import DIM, Backend

STORE_TIMEOUT_MS, DEADLINE_MS = 2_000.0, 20_000.0
"""A crowded machine is no reason for a degraded answer, or for none, where nobody tries what is."""


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real, private Redis server. Tests share it: use a namespace of your own."""
    with EmbeddedRedis() as server:
        yield server.url


@pytest.fixture
def settings(repository: Path, redis_url: str, request: pytest.FixtureRequest) -> Settings:
    """Settings of a service on the tests' repository and Redis, in a namespace of the test's own."""
    namespace = "t-" + hashlib.sha1(request.node.nodeid.encode(), usedforsecurity=False).hexdigest()[:12]
    return _settings(repository, redis_url, namespace)


@pytest.fixture(scope="module")
def live(repository: Path, redis_url: str, request: pytest.FixtureRequest) -> Iterator[Live]:
    """A running service, shared by a module's tests: use members of your own."""
    namespace = "m-" + hashlib.sha1(request.node.nodeid.encode(), usedforsecurity=False).hexdigest()[:12]
    with serving(_settings(repository, redis_url, namespace)) as running:
        yield running


def _settings(repository: Path, redis_url: str, namespace: str) -> Settings:
    return Settings(
        model_repository=repository,
        redis_url=redis_url,
        namespace=namespace,
        inference_threads=2,
        store_timeout_ms=STORE_TIMEOUT_MS,
        amortized_deadline_ms=DEADLINE_MS,
    )


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """The two stores; the Redis one gets a namespace of its own at each opening."""
    if request.param == "memory":
        return Backend(
            lambda max_history: InMemoryHistoryStore(DIM, max_history), lambda s, m, b: s.logs.update({m: b})
        )
    url: str = request.getfixturevalue("redis_url")

    def put(store: RedisHistoryStore, member_id: str, log: bytes) -> None:
        with Redis.from_url(url) as client:
            client.set(store.key(member_id), log)

    return Backend(lambda limit: RedisHistoryStore(url, uuid.uuid4().hex, "v1", DIM, limit, 5000), put)


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """The machine's own RANKER_* variables have no say in a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RANKER_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def versions(
    repository: Path, export: Callable[[Path, str, int], Manifest], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """feed/1 and feed/2, whose scores differ, and ads/1."""
    root = shutil.copytree(repository, tmp_path_factory.mktemp("versions") / "models")
    export(root / "feed" / "2", "feed", 22)
    return root


@pytest.fixture
def growing(versions: Path, tmp_path: Path) -> Path:
    """A repository of the test's own, without feed/2 yet."""
    root = shutil.copytree(versions, tmp_path / "models")
    shutil.move(root / "feed" / "2", tmp_path / "new")
    return root


@pytest.fixture
def reloadable(settings: Settings, growing: Path) -> Iterator[Live]:
    with serving(settings.model_copy(update={"model_repository": growing})) as running:
        yield running


@pytest.fixture
def root(repository: Path, tmp_path: Path) -> Path:
    """A copy of the repository, to change."""
    return shutil.copytree(repository, tmp_path / "models")


@pytest.fixture
def around() -> Bystander:
    return Bystander()


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real one."""
    with chromium() as browser:
        yield browser
