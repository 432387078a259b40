"""RequestContext: what surrounds every request, as plain ASGI: its id, its last resort, and the count of its answers.

Also where a start that failed is told in one line instead of a stack. It does not know routes or what is ranked.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems

log = logging.getLogger(__name__)

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_CLOSED = 499  # nginx's number for a caller that went away; never sent, only counted


class RequestContext:
    """Puts `request_id` into the scope's state, answers what nobody caught, and calls `count(scope, status)`."""

    def __init__(self, app: ASGIApp, count: Callable[[Scope, int], None], start_failure: Callable[[], str]) -> None:
        self._app = app
        self._count = count
        self._start_failure = start_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._lifespan(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = _CLOSED
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass  # nobody is left to be answered
        except Exception:
            log.exception("unexpected error request_id=%s", request_id)
            if started:
                raise
            await send_problem(problems.internal(request_id), send_with_id)
        finally:
            self._count(scope, status)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_plainly(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                message["message"] = self._start_failure() or message.get("message", "")
            await send(message)

        await self._app(scope, receive, send_plainly)


async def send_problem(problem: problems.ProblemAnswer, send: Send) -> None:
    headers: list[tuple[bytes, bytes]] = [(k.encode(), v.encode()) for k, v in problem.headers.items()]
    headers.append((b"content-length", str(len(problem.body)).encode()))
    start: dict[str, Any] = {"type": "http.response.start", "status": problem.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": problem.body})


def _request_id(scope: Scope) -> str:
    """The caller's id where it is safe to log and echo, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value.decode())
    return uuid.uuid4().hex
