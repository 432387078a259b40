"""The writers, and the audit that finds what is lost, doubled or torn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.catalog import Catalog
from loadtests.chaos.writers import Stored, Writer, writing
from service.app import create_app
from service.settings import Settings

REFUSAL = {"code": "store_unavailable", "detail": "it is out of memory"}


class Log:
    """A service of one member's log that a test can spoil. refusing: how many more requests are refused."""

    def __init__(self) -> None:
        self.actions: list[dict[str, Any]] = []
        self.seen: dict[str, dict[str, Any]] = {}
        self.refusing = 0
        self.retry_after = {"retry-after": "1"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            shown = {"member_id": "m", "total": len(self.actions), "actions": self.actions}
            return httpx.Response(200, json=shown) if self.actions else httpx.Response(404)
        if self.refusing:
            self.refusing -= 1
            return httpx.Response(503, json=REFUSAL, headers=self.retry_after)
        key = request.headers["idempotency-key"]
        if key in self.seen:
            return httpx.Response(200, json={**self.seen[key], "replayed": True})
        events = httpx.Response(200, content=request.content).json()["events"]
        self.actions += events
        self.seen[key] = {"appended": len(events), "total": len(self.actions), "replayed": False}
        return httpx.Response(200, json=self.seen[key])

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self), base_url="http://log")


@pytest.fixture
async def log() -> Log:
    return Log()


@pytest.fixture
async def http(log: Log) -> AsyncIterator[httpx.AsyncClient]:
    async with log.client() as client:
        yield client


async def write(http: httpx.AsyncClient, catalog: Catalog, seconds: float = 0.2) -> Writer:
    async with writing([http], catalog.any, "test", 1) as started:
        await asyncio.sleep(seconds)
    return started.writers[0]


async def test_events_are_sent_until_they_are_acknowledged(log: Log, http: httpx.AsyncClient, catalog: Catalog) -> None:
    """Refused ones again, some on purpose twice at once; in the end everything is there once, in order."""
    log.refusing = 3
    writer = await write(http, catalog, 0.5)
    stored = await writer.stored(http)
    assert writer.acknowledged == writer.begun == stored.total > 10
    assert (stored.numbers, stored.missing) == (list(range(stored.total)), [])
    assert writer.refusals == {"503 store_unavailable": 3}
    assert writer.reasons == {"it is out of memory"}
    assert (writer.odd, writer.replayed > 0) == ([], True)
    assert max(writer.acknowledged_at) == writer.begun - 1


async def test_a_refusal_that_is_not_in_due_form_is_odd(log: Log, http: httpx.AsyncClient, catalog: Catalog) -> None:
    """A 503 without Retry-After tells a client nothing."""
    log.refusing, log.retry_after = 1, {}
    assert len((await write(http, catalog)).odd) == 1


async def test_what_is_lost_is_counted(log: Log, http: httpx.AsyncClient, catalog: Catalog) -> None:
    """At the end of the log and inside it."""
    async with writing([http], catalog.any, "test", 1) as started:
        await asyncio.sleep(0.2)
    assert await started.lost(http) == 0
    del log.actions[3], log.actions[-1]
    assert await started.lost(http) == 2
    assert (await started.writers[0].stored(http)).missing == [3]
    log.actions.clear()
    assert await started.writers[0].stored(http) == Stored(0, [])


@pytest.mark.parametrize("spoil", ["torn", "doubled", "swapped", "invented"])
async def test_a_log_that_is_no_sequence_of_events_is_found(
    log: Log, http: httpx.AsyncClient, catalog: Catalog, spoil: str
) -> None:
    """Each in its own words, wherever it is in the log."""
    writer = await write(http, catalog)
    if spoil == "torn":
        log.actions[2] = {**log.actions[2], "item_id": log.actions[3]["item_id"]}
    elif spoil == "doubled":
        log.actions.insert(2, log.actions[2])
    elif spoil == "swapped":
        log.actions[1], log.actions[2] = log.actions[2], log.actions[1]
    else:
        writer.begun -= 1
    words = {"torn": "torn record", "invented": "never sent"}
    with pytest.raises(ValueError, match=words.get(spoil, "doubled or out of order")):
        await writer.stored(http)


async def test_a_client_that_is_closed_is_left_for_the_next(
    log: Log, http: httpx.AsyncClient, catalog: Catalog
) -> None:
    """What was under way is sent again there."""
    first = log.client()
    async with writing([first, http], catalog.any, "test", 2) as started:
        await asyncio.sleep(0.1)
        await first.aclose()
        await asyncio.sleep(0.1)
    assert all(writer.acknowledged == writer.begun > 0 for writer in started.writers)


async def test_the_real_service_keeps_what_they_write(repository: Path, catalog: Catalog) -> None:
    """Its trims are no losses."""
    app = create_app(Settings(model_repository=repository, inference_threads=1))
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state)
            await app(scope, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            async with writing([http], catalog.any, "test", 2) as started:
                await asyncio.sleep(1.0)
            assert started.acknowledged > 100
            assert await started.lost(http) == 0
            assert (await started.writers[0].stored(http)).numbers[0] > 0
