"""Connection: one client's HTTP/1.1 connection on uvicorn, bounded in bytes, in time and in requests that wait.

uvicorn bounds none of these: a head or a chunk's trailer may be endless, arrive a byte a minute, or never. Here each
such client is answered with a problem document where an answer can still be understood, and hung up on. It does not
know what is served.
"""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from typing import Any, NamedTuple

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service import problems

MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
MAX_PIPELINED = 16
_UNPARSED_BYTES = 512 * 1024  # of a message and not of its body; above what one read from a socket gives (256 KiB)
_FRAMING = 8  # times a body's bytes: what its chunks' own lines may take, down to chunks of one byte
_LINGER_SECONDS = 1.0  # a refused client may be sending still; closed at once, it would not read the refusal


class Bounds(NamedTuple):
    """connections: at a time, in the whole process · transfer_seconds: for a whole request, or to take its answer."""

    connections: int
    transfer_seconds: float


class Connection(HttpToolsProtocol):
    """`check` has to be called about every second; nothing here keeps a timer for each request."""

    def __init__(
        self,
        bounds: Bounds,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = bounds
        self._heard = False
        self._refused = False
        self._running: RequestResponseCycle | None = None
        self._owed_since: float | None = None  # when the client began to owe us the rest of a request
        self._untaken_since: float | None = None  # when it ceased to take what it is answered
        self._head_bytes = 0
        self._unparsed = _UNPARSED_BYTES

    def check(self, now: float) -> None:
        """Hang up on a client that takes longer than it may. `now`: the event loop's time."""
        if self.transport.get_write_buffer_size() == 0:
            self._untaken_since = None
        elif self._untaken_since is None:
            self._untaken_since = now
        elif now - self._untaken_since > self._bounds.transfer_seconds:
            self.transport.abort()
            return
        if self._owed_since is None or self._refused:
            return
        if self.flow.read_paused:  # it is we who do not read
            self._owed_since = now
        elif now - self._owed_since > self._bounds.transfer_seconds:
            if self._heard:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            else:  # a connection kept ready for later: to the request that crosses it, a 408 would look like its answer
                self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._owed_since = self.loop.time()
        if len(self.connections) > self._bounds.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forsake()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._heard = True
        self._unset_keepalive_if_required()
        if self._owed_since is None:
            self._owed_since = self.loop.time()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # there is nothing to change to: the request is answered as plain HTTP
            self.cycle.keep_alive = False
        except _TooLarge:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except httptools.HttpParserError as error:
            large = isinstance(error.__context__, _TooLarge)
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if large else HTTPStatus.BAD_REQUEST)
        else:
            self._unparsed -= len(data)
            if self._unparsed < 0:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes, self._unparsed = 0, _UNPARSED_BYTES
        self._owed_since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer behind the last chunk."""
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _TooLarge
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._expected(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._owed_since = None
        super().on_message_complete()

    def _expected(self, body: bytes) -> None:
        self._unparsed += len(body) * (1 + _FRAMING)

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            raise _TooLarge

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, status: HTTPStatus) -> None:
        """Read nothing more of this client, and say why unless it is owed answers first."""
        self._refused = True
        running = self._running
        owed = running is not None and not running.response_complete
        if running is not None and owed and not (running is self.cycle and running.more_body):
            running.keep_alive = False  # an earlier request is being answered; what came after it is dropped
            self.pipeline.clear()
            return
        begun = running is not None and owed and running.response_started
        self._forsake()
        if begun:
            self.transport.close()
            return
        self._tell(status, counted=not owed)

    def _tell(self, status: HTTPStatus, *, counted: bool) -> None:
        request_id = uuid.uuid4().hex
        answer = problems.of_status(status, request_id)
        headers = {**answer.headers, "content-length": str(len(answer.body)), "x-request-id": request_id}
        headers["connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + answer.body)
        if counted and "metrics" in self.app_state:
            self.app_state["metrics"].answered(None, status.value)
        if status == HTTPStatus.SERVICE_UNAVAILABLE or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _forsake(self) -> None:
        """Tell the request at work, which need not be the one that arrived last, that nobody waits for it."""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()


class _TooLarge(Exception):
    """More head, headers or waiting requests than one client may have."""
