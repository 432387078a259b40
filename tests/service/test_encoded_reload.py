"""EncodedHistoryCache when bundles come and go."""

from __future__ import annotations

import asyncio

from service.encoded import EncodedHistory, EncodedHistoryCache
from tests.service.test_encoded import ROOM_FOR_ONE, at_once, key


async def test_what_comes_too_late_for_its_bundle_is_not_kept() -> None:
    """A request that began before a reload ends after it: it gets its encoding, which nobody will ask for again."""
    cache = EncodedHistoryCache(10 * ROOM_FOR_ONE)
    gate = asyncio.Event()

    async def slow() -> EncodedHistory:
        await gate.wait()
        return await at_once()

    flight = asyncio.create_task(cache.get(key("a", bundle="feed/1"), slow))
    await asyncio.sleep(0)
    cache.forget_bundle("feed/1")
    gate.set()

    assert (await flight)[1] == "computed"
    await cache.get(key("b", bundle="feed/1"), at_once)
    assert (len(cache), cache.bytes) == (0, 0)
    cache.welcome_bundle("feed/1")  # rolled back
    await cache.get(key("b", bundle="feed/1"), at_once)
    assert len(cache) == 1
