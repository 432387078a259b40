"""Fixtures for the service's tests: one real Redis server for the whole run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from redis import Redis

from service.embedded_redis import EmbeddedRedis
from service.histories import InMemoryHistoryStore
from service.redis_histories import RedisHistoryStore
from tests.service.stores import DIM, Backend


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real, private Redis server. Tests share it: use a namespace of your own."""
    with EmbeddedRedis() as server:
        yield server.url


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
