"""Fixtures for the service's tests: one real Redis server for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real, private Redis server. Tests share it: use a namespace of your own."""
    with EmbeddedRedis() as server:
        yield server.url
