"""The stores' contract for images of another embedding version's logs, for both stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.codec import MemberHistory, encode_records
from service.errors import HistoryDamaged
from service.histories import HistoryStore, Image, InMemoryHistoryStore
from service.redis_histories import RedisHistoryStore
from tests.service.stores import DIM, records


@pytest.fixture(params=["memory", "redis"])
async def pair(request: pytest.FixtureRequest) -> Any:
    """A source four wide and a target two wide, and what writes raw bytes into the source."""
    logs: dict[str, bytes] = {}
    if request.param == "memory":
        source, target = InMemoryHistoryStore(DIM, 8), InMemoryHistoryStore(2, 8)
        source.logs = logs
        yield source, target, logs.__setitem__
        return
    url: str = request.getfixturevalue("redis_url")
    namespace = f"mirror-{request.node.name}"
    old, new = (RedisHistoryStore(url, namespace, v, width, 8, 5000) for v, width in (("old", DIM), ("new", 2)))
    from redis import Redis

    with Redis.from_url(url) as client:
        yield old, new, lambda member, log: client.set(old.key(member), log)
    await old.close()
    await new.close()


Pair = tuple[HistoryStore, HistoryStore, Callable[[str, bytes], object]]


async def image_of(source: HistoryStore, member_id: str) -> Image:
    """The same rows, actions and times, in embeddings two wide."""
    log = await source.log(member_id)
    return Image(log, encode_records(log.item_rows, log.actions, log.timestamps, log.embeddings[:, :2]))


def marks(history: MemberHistory) -> list[int]:
    return [int(row) for row in history.item_rows]


async def test_an_image_has_the_version_of_its_log(pair: Pair) -> None:
    """Also of one that was trimmed: counts go on where the log's do, so windows begin at the same action."""
    source, target, _ = pair
    for mark in range(20):
        await source.append("m", records([mark]), None)
    assert await target.mirror("m", source) == "behind"

    assert await target.mirror("m", source, await image_of(source, "m")) == "same"

    old, new = await source.log("m"), await target.log("m")
    assert (new.version, new.start, marks(new)) == (old.version, old.start, marks(old))
    assert new.start > 0
    assert await target.mirror("m", source) == "same"


async def test_a_log_that_has_grown_is_behind_until_it_is_copied_again(pair: Pair) -> None:
    """An image of what it was before is not written."""
    source, target, _ = pair
    await source.append("m", records([1]), None)
    image = await image_of(source, "m")
    await source.append("m", records([2]), None)

    assert await target.mirror("m", source, image) == "behind"
    assert (await target.log("m")).total == 0
    assert await target.mirror("m", source, await image_of(source, "m")) == "same"
    await source.append("m", records([3]), None)
    assert await target.mirror("m", source) == "behind"


async def test_a_rewritten_log_is_behind(pair: Pair) -> None:
    """As many actions, and others: the incarnation tells."""
    source, target, _ = pair
    await source.append("m", records([1]), None)
    await target.mirror("m", source, await image_of(source, "m"))

    await source.replace("m", records([2]))

    assert await target.mirror("m", source) == "behind"
    assert await target.mirror("m", source, await image_of(source, "m")) == "same"
    assert marks(await target.log("m")) == [2]


async def test_a_log_that_is_ahead_is_left_alone(pair: Pair) -> None:
    """It is being written by a service already: the old log is the one that lacks something."""
    source, target, _ = pair
    await source.append("m", records([1]), None)
    image = await image_of(source, "m")
    await target.mirror("m", source, image)
    await target.append("m", encode_records([9], [0], [1], image_embedding()), None)

    assert await target.mirror("m", source) == "ahead"
    assert await target.mirror("m", source, image) == "ahead"
    assert marks(await target.log("m")) == [1, 9]


def image_embedding() -> Any:
    import numpy as np

    return np.zeros((1, 2), np.float16)


async def test_an_erased_member_is_not_copied(pair: Pair) -> None:
    """An erasure between reading and writing wins."""
    source, target, _ = pair
    await source.append("m", records([1]), None)
    image = await image_of(source, "m")
    await source.erase("m")

    assert await target.mirror("m", source, image) == "gone"
    assert (await target.log("m")).total == 0


@pytest.mark.parametrize("log", [b"nonsense", b"RKH1" + bytes(20)])
async def test_a_damaged_log_is_an_error(pair: Pair, log: bytes) -> None:
    """It is never copied."""
    source, target, put = pair
    put("m", log)

    with pytest.raises(HistoryDamaged):
        await target.mirror("m", source)


async def test_every_member_is_found(pair: Pair) -> None:
    """Whatever characters an id has, and nobody of the other version."""
    source, target, _ = pair
    members = {f"m-{i}" for i in range(500)} | {"a}b", "100%", "ü*?[", "x:idempotency:y"}
    for member in members:
        await source.append(member, records([1]), "key}")

    assert {member async for member in source.scan()} == members
    assert {member async for member in target.scan()} == set()
