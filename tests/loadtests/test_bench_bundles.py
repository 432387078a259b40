"""The benchmarks' bundles: what is asked can be answered, from histories as long as the shape says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from loadtests.bench_bundles import NAMESPACE, Bundle
from loadtests.bench_shapes import ReferenceShape
from service.embedded_redis import EmbeddedRedis
from service.histories import Window
from service.redis_histories import RedisHistoryStore

TINY = ReferenceShape("tiny", history=16, candidates=32, embedding_dim=16)


def test_bodies_ask_for_known_items_each_once(tmp_path: Path) -> None:
    """As many as the shape says or the caller wants, by id alone or with a number for each feature."""
    bundle = Bundle(TINY, tmp_path)
    plain = json.loads(bundle.body("m"))
    more = json.loads(bundle.body("m", 50, features=True, limit=1))

    ids = {candidate["id"] for candidate in more["candidates"]}
    assert (len(plain["candidates"]), len(ids), more["limit"]) == (32, 50, 1)
    assert ids < set(bundle.items.ids)
    assert {len(candidate["features"]) for candidate in more["candidates"]} == {TINY.config.features}
    assert all(set(candidate) == {"id"} for candidate in plain["candidates"])


def test_members_have_full_histories_in_the_store(tmp_path: Path) -> None:
    """Every member's window is the shape's history, of known items."""
    bundle = Bundle(TINY, tmp_path)

    async def lengths(url: str) -> list[int]:
        members = await bundle.store_members(url, 3)
        version = bundle.manifest.embedding_version
        store = RedisHistoryStore(url, NAMESPACE, version, TINY.embedding_dim, TINY.history, 5000.0)
        window = Window(TINY.history, TINY.config.slack)
        histories = [await store.get(member, window) for member in members]
        await store.close()
        return [history.length for history in histories if history is not None]

    with EmbeddedRedis() as server:
        assert asyncio.run(lengths(server.url)) == [16, 16, 16]
