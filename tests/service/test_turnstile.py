"""Turnstile: a full service turns ranking requests away on the connection, which stays usable. Real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.connection import Bounds
from service.crowd import LESSON, Crowd
from service.health import Readiness
from service.metrics import Metrics
from service.turnstile import Turnstile

ROOM = 2


class House:
    """An application whose ranking takes until `done`, behind turnstiles that let two in."""

    def __init__(self) -> None:
        ticks = iter(range(10**6))
        self.crowd = Crowd(0.05, ROOM, lambda: next(ticks), lambda: next(ticks))
        for _ in range(LESSON):  # by its clocks that is slow work and a busy loop
            self.crowd.enter()
            self.crowd.leave()
        self.metrics = Metrics()
        self.readiness = Readiness()
        self.readiness.phase = "serving"
        self.done = asyncio.Event()
        self.ranked = 0
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"].update(crowd=self.crowd, metrics=self.metrics, readiness=self.readiness)
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/v1/rank":
            while (await receive()).get("more_body"):
                pass
            self.ranked += 1
            await self.done.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Running; it takes a caller of a connection of their own for each request."""
    app = House()
    protocol = cast(Any, partial(Turnstile, Bounds(100, 60.0)))
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=protocol, lifespan="on", log_config=None, ws="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    app.port = server.servers[0].sockets[0].getsockname()[1]
    yield app
    app.done.set()
    server.should_exit = True
    await serving


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, path: str = "/v1/rank", body: bytes = b"{}", *headers: str, sent: int | None = None) -> None:
        """sent: only so many bytes of the body."""
        lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode() + body[:sent])

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode().split("\r\n")
        headers = {name: value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        return int(head[0][9:12]), headers, await self.reader.readexactly(int(headers["content-length"]))


@contextlib.asynccontextmanager
async def calling(house: House, count: int) -> AsyncIterator[list[Caller]]:
    callers = [Caller(*await asyncio.open_connection("127.0.0.1", house.port)) for _ in range(count)]
    yield callers
    for caller in callers:
        caller.writer.close()
        with contextlib.suppress(ConnectionError):
            await caller.writer.wait_closed()


async def until_inside(house: House, count: int) -> None:
    async with asyncio.timeout(20):
        while house.crowd.inside != count:  # noqa: ASYNC110 - a crowd tells nobody
            await asyncio.sleep(0.005)


async def test_a_full_house_turns_away_and_the_connection_stays(house: House) -> None:
    """429 with a problem, Retry-After and the caller's own request id; counted; the next request there is served."""
    async with calling(house, ROOM + 1) as callers:
        for caller in callers[:ROOM]:
            caller.ask()
        await until_inside(house, ROOM)
        late = callers[ROOM]
        late.ask("/v1/rank", b"x" * 100_000, "x-request-id: mine")
        status, headers, body = await late.answer()

        assert (status, headers["retry-after"], headers["x-request-id"]) == (429, "1", "mine")
        problem = json.loads(body)
        assert (problem["code"], problem["request_id"]) == ("overloaded", "mine")
        samples = {(name, *labels.values()): value for name, labels, value in house.metrics.samples(SHED)}
        assert samples["ranker_shed_total", "event_loop"] == 1
        assert samples["ranker_http_requests_total", "/v1/rank", "429"] == 1
        house.done.set()
        assert [(await caller.answer())[0] for caller in callers[:ROOM]] == [200] * ROOM
        late.ask()
        assert (await late.answer())[0] == 200
    assert house.ranked == ROOM + 1


SHED = ("ranker_shed_total", "ranker_http_requests_total")


async def test_other_routes_are_open_to_a_full_house(house: House) -> None:
    """Health, metrics and events are not what the loop has too much of."""
    async with calling(house, ROOM + 1) as callers:
        for caller in callers[:ROOM]:
            caller.ask()
        await until_inside(house, ROOM)
        callers[ROOM].ask("/v1/events")
        assert (await callers[ROOM].answer())[0] == 200


async def test_who_sends_slowly_takes_nobodys_place(house: House) -> None:
    """A request counts from its last byte on."""
    async with calling(house, ROOM + 2) as callers:
        for caller in callers[:ROOM]:
            caller.ask(body=b"12345", sent=3)
        house.done.set()
        callers[-1].ask()
        assert (await callers[-1].answer())[0] == 200
        assert house.crowd.inside == 0


async def test_who_hangs_up_makes_room(house: House) -> None:
    """Whatever becomes of what they asked for."""
    async with calling(house, ROOM) as callers:
        for caller in callers:
            caller.ask()
        await until_inside(house, ROOM)
        callers[0].writer.close()
        await until_inside(house, ROOM - 1)


async def test_a_service_that_drains_closes_what_it_turns_away(house: House) -> None:
    """So that the caller comes back to another one."""
    async with calling(house, ROOM + 1) as callers:
        for caller in callers[:ROOM]:
            caller.ask()
        await until_inside(house, ROOM)
        house.readiness.drain()
        callers[ROOM].ask()
        status, headers, _ = await callers[ROOM].answer()

        assert (status, headers["connection"]) == (429, "close")
        assert await callers[ROOM].reader.read() == b""


async def test_an_overload_is_not_the_turn_of_a_request_behind_another(house: House) -> None:
    """Answers keep the order of a connection's requests, so what is pipelined waits."""
    async with calling(house, ROOM) as callers:
        callers[0].ask()
        callers[1].ask()
        await until_inside(house, ROOM)
        callers[0].ask()
        house.done.set()
        assert [(await callers[0].answer())[0] for _ in range(2)] == [200, 200]
