"""RequestContext: ids, last resorts and counts around an application, seen from its ASGI side."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.middleware import RequestContext


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def ask(app: Any, headers: list[tuple[bytes, bytes]] | None = None) -> tuple[list[Message], list[int]]:
    """What is sent and what is counted for one request."""
    sent: list[Message] = []
    counted: list[int] = []

    async def send(message: Message) -> None:
        sent.append(message)

    wrapped = RequestContext(app, lambda _, status: counted.append(status), lambda: "")
    scope: Scope = {"type": "http", "path": "/v1/rank", "headers": headers or [], "state": {}}
    await wrapped(scope, receive, send)
    return sent, counted


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def test_an_answer_carries_the_callers_id() -> None:
    """A plain id is kept and seen by the application; the answer's status is counted."""
    sent, counted = await ask(fine, [(b"x-request-id", b"a:b.c_d-1")])

    assert (b"x-request-id", b"a:b.c_d-1") in sent[0]["headers"]
    assert counted == [204]


@pytest.mark.parametrize("given", [b"a b", b"\xff", b"", b"x" * 129, b"a\nb"])
async def test_an_odd_id_is_replaced(given: bytes) -> None:
    """Nothing that could break a log line gets through."""
    sent, _ = await ask(fine, [(b"x-request-id", given)])

    (value,) = [value for name, value in sent[0]["headers"] if name == b"x-request-id"]
    assert value != given


async def test_what_nobody_caught_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets `internal`, the log gets the exception."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("inner secret")

    sent, counted = await ask(broken)

    assert (sent[0]["status"], counted) == (500, [500])
    assert b"secret" not in sent[1]["body"]
    assert "inner secret" in caplog.text


async def test_an_answer_that_broke_half_way_is_not_answered_again(caplog: pytest.LogCaptureFixture) -> None:
    """After the first byte only the server can hang up, so the error goes on to it."""

    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("half")

    with pytest.raises(RuntimeError):
        await ask(half)

    assert "half" in caplog.text


async def test_a_caller_that_went_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted as 499 and not logged as a bug."""
    from starlette.requests import ClientDisconnect

    async def left(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    sent, counted = await ask(left)

    assert (sent, counted) == ([], [499])
    assert caplog.text == ""


@pytest.mark.parametrize(("failure", "message"), [("cannot start: x", "cannot start: x"), ("", "a stack")])
async def test_a_failed_start_is_told_plainly(failure: str, message: str) -> None:
    """A failure that is understood replaces the stack; a stranger's stack is kept."""
    sent: list[Message] = []

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "a stack"})

    async def send(message: Message) -> None:
        sent.append(message)

    await RequestContext(failing, lambda *_: None, lambda: failure)({"type": "lifespan"}, receive, send)

    assert sent == [{"type": "lifespan.startup.failed", "message": message}]
