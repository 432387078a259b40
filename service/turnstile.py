"""Turnstile: a connection that turns ranking requests away while the event loop has as many as it can work off.

Where a refusal costs a tenth of an answer, a flood of five times the capacity takes nearly half of it. So it is told
here, as soon as the request has come in: before there is a task for it, and before its body is decoded or even kept.
While the service takes no more requests than come anyway, each connection ends with its next answer. It does not know
why the loop can take no more (crowd.py).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import cast

from starlette.types import Scope

from service import problems
from service.connection import Connection
from service.crowd import Crowd
from service.errors import Overloaded
from service.middleware import request_id_of

RANK_ROUTE = "/v1/rank"
_RANK = RANK_ROUTE.encode()


class Turnstile(Connection):
    """Reads `crowd`, `metrics` and `readiness` of the application's state."""

    _turned_away = False
    _inside: Crowd | None = None

    def on_headers_complete(self) -> None:
        crowd: Crowd | None = self.app_state.get("crowd")
        in_turn = self.cycle is None or self.cycle.response_complete
        ranks = self.url == _RANK and in_turn and not self.expect_100_continue
        self._turned_away = ranks and crowd is not None and crowd.full
        self._enters = crowd if ranks else None
        if self._turned_away:
            return
        super().on_headers_complete()
        if crowd is not None and not self.app_state["readiness"].serving:
            self.cycle.keep_alive = False  # the answer says so, and the caller comes back to another instance

    def on_body(self, body: bytes) -> None:
        if self._turned_away:
            self._expected(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._turned_away:
            self._turned_away = False
            self._owed_since = None
            self._turn_away()
            return
        if self._enters is not None:  # not before its body has come: a slow sender takes nobody's place
            self._inside, self._enters = self._enters, None
            self._inside.enter()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._leave()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        if self._inside is not None:
            self._inside.leave()
            self._inside = None

    def _turn_away(self) -> None:
        crowd: Crowd = self.app_state["crowd"]
        request_id = request_id_of(cast(Scope, self.scope))
        error = Overloaded("there are as many requests as can be worked off in time", crowd.seconds)
        answer = problems.of_error(error, request_id)
        stays = self.parser.should_keep_alive() and self.app_state["readiness"].serving
        headers = {**answer.headers, "content-length": str(len(answer.body)), "x-request-id": request_id}
        if not stays:
            headers["connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        status = HTTPStatus(answer.status)
        self.transport.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + answer.body)
        self.app_state["metrics"].turned_away(RANK_ROUTE, answer.status)
        if stays:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.transport.close()
