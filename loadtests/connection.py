"""One keep-alive HTTP/1.1 connection: bytes out, (status, body, moment) back, and as little work as that takes.

A general client costs several times what a small answer costs to parse, and a generator must not measure itself. It
speaks to the service only: answers have a Content-Length. It does not know what it carries.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT_SECONDS = 60.0


class Answer(NamedTuple):
    """at: when its last byte had come, by time.perf_counter."""

    status: int
    body: bytes
    at: float


class Address(NamedTuple):
    host: str
    port: int


def loopback(url: str) -> Address:
    """Host and port of a service on this machine. Raises ValueError for any other: load is never sent elsewhere."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK or parts.port is None:
        raise ValueError(f"{url}: load tests only go to http://127.0.0.1:PORT")
    return Address(parts.hostname, parts.port)


class Connection(asyncio.Protocol):
    """Sends one request at a time. A lost connection raises ConnectionError, a late answer TimeoutError."""

    def __init__(self, address: Address) -> None:
        self._head = (
            f"POST /v1/rank HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(address), address.host, address.port)
        return connection

    async def rank(self, body: bytes) -> Answer:
        if self._transport is None or self.closed:
            raise ConnectionResetError("the service closed the connection")
        assert self._waiting is None, "one request at a time"
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        late = loop.call_later(TIMEOUT_SECONDS, self._fail, TimeoutError(f"no answer within {TIMEOUT_SECONDS:g} s"))
        try:
            return await self._waiting
        finally:
            late.cancel()
            self._waiting = None

    @property
    def closed(self) -> bool:
        """No further request may be sent: the service has said so, or hung up."""
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._fail(ConnectionResetError("the service closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        _, found, length = head.partition(b"\r\ncontent-length:")
        if not found:
            self._fail(ConnectionError("an answer without Content-Length"))
            self.close()
            return
        start = end + 4
        stop = start + int(length.split(b"\r\n", 1)[0])
        if len(self._buffer) < stop:
            return
        if b"\r\nconnection: close" in head:
            self.close()
        answer = Answer(int(head[9:12]), bytes(self._buffer[start:stop]), time.perf_counter())
        del self._buffer[:stop]
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
