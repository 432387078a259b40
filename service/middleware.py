"""RequestContext: what surrounds every request, as plain ASGI: its id, its trace, its last resort, the count of its
answers, and what each of them forbids a browser.

Also where a start that failed is told in one line instead of a stack. It does not know routes or what is ranked.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import browser, context, problems
from service.context import TraceContext
from service.tracing import RequestSpan, Tracer, parse_traceparent

log = logging.getLogger(__name__)

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_ids = random.Random()  # noqa: S311 - an id is no secret, and a uuid4 asks the kernel
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
        request_id = request_id_of(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        caller = _caller(scope)
        span = _begin_span(state.get("tracer"), scope, request_id, caller)
        # One task a request on uvicorn, but nothing says so: what is set here is taken back in the end.
        outer = context.request_id.set(request_id), context.trace.set(span.place if span else caller)
        status = _CLOSED
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                own = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), own, *browser.headers(scope["path"])]
                if span is not None:
                    message["headers"].append((b"traceresponse", span.place.header().encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass  # nobody is left to be answered
        except Exception:
            log.exception("unexpected error")
            if started:
                raise
            await send_problem(problems.internal(request_id), send_with_id)
        finally:
            self._count(scope, status)
            if span is not None:
                span.end(scope["method"], route_of(scope), status)
            context.request_id.reset(outer[0])
            context.trace.reset(outer[1])

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


def route_of(scope: Scope) -> str | None:
    """The pattern of the route that answered, such as `/v1/members/{member_id}/history`; None where none did."""
    path: str | None = getattr(scope.get("route"), "path_format", None)
    return path


def _caller(scope: Scope) -> TraceContext | None:
    """The caller's place in its trace. Two `traceparent` headers are as good as none."""
    found = [value for name, value in scope["headers"] if name == b"traceparent"]
    return parse_traceparent(found[0].decode("latin-1")) if len(found) == 1 else None


def _begin_span(
    tracer: Tracer | None, scope: Scope, request_id: str, caller: TraceContext | None
) -> RequestSpan | None:
    if tracer is None:
        return None
    state = b",".join(value for name, value in scope["headers"] if name == b"tracestate").decode("latin-1")
    return tracer.begin(scope["method"], scope["path"], request_id, caller, state)


def request_id_of(scope: Scope) -> str:
    """The caller's id where it is safe to log and echo, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value.decode())
    return f"{_ids.getrandbits(128):032x}"
