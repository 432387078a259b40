"""A closed loop over raw keep-alive connections: so many callers, each of whom asks again once it is answered.

One thread, no HTTP library, whole requests encoded beforehand: the same few system calls for every server, so that the
generator costs none of them more than another. It does not know what the bytes mean.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60.0
_RECEIVED = 1 << 18


class Ask(NamedTuple):
    """index: names the request to whoever checks its answer · data: head and body as they are sent"""

    index: int
    data: bytes


class Reply(NamedTuple):
    """headers: in lower case, the status line first"""

    index: int
    headers: bytes
    body: bytes


class Block(NamedTuple):
    """latencies: of what was answered in `seconds`, from the first byte sent to the last received · replies: the last
    one of each connection, to be checked"""

    seconds: float
    latencies: list[float]
    replies: list[Reply]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds


class Refused(Exception):
    """An answer other than 200; the message holds its beginning."""


def request(path: str, media_type: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """One POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class ClosedLoop:
    """`callers` connections to one server, kept between blocks."""

    def __init__(self, url: str, callers: int) -> None:
        parts = urlsplit(url)
        if parts.hostname != "127.0.0.1":
            raise ValueError(f"{url}: load only goes to this machine")
        self._selector = selectors.DefaultSelector()
        self._callers = [_Caller(parts.hostname, parts.port or 80) for _ in range(callers)]
        for caller in self._callers:
            self._selector.register(caller.socket, selectors.EVENT_READ, caller)

    def close(self) -> None:
        self._selector.close()
        for caller in self._callers:
            caller.socket.close()

    def run(self, asks: Iterator[Ask], seconds: float) -> Block:
        """Ask for `seconds` from the moment that every caller has been answered once, or until nothing is left to ask;
        the last ones are waited for. Raises Refused, ConnectionError or TimeoutError.
        """
        busy = sum(self._send(caller, asks) for caller in self._callers)
        unanswered = set(self._callers)
        latencies: list[float] = []
        start = end = float("inf")  # until the lead-in is through
        while busy:
            events = self._selector.select(TIMEOUT_SECONDS)
            if not events:
                raise TimeoutError(f"no answer within {TIMEOUT_SECONDS:g} s")
            for key, ready in events:
                caller: _Caller = key.data
                if ready & selectors.EVENT_WRITE and caller.flush():
                    self._selector.modify(caller.socket, selectors.EVENT_READ, caller)
                if not ready & selectors.EVENT_READ or not caller.receive():
                    continue
                now = time.perf_counter()
                if start < now <= end:
                    latencies.append(now - caller.asked)
                unanswered.discard(caller)
                if not unanswered and start == float("inf"):
                    start, end = now, now + seconds
                if now >= end or not self._send(caller, asks):
                    busy -= 1
        return Block(seconds, latencies, [caller.reply for caller in self._callers if caller.reply])

    def _send(self, caller: _Caller, asks: Iterator[Ask]) -> bool:
        """False where nothing is left to ask."""
        ask = next(asks, None)
        if ask is not None and not caller.ask(ask):
            self._selector.modify(caller.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, caller)
        return ask is not None


class _Caller:
    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.asked = 0.0
        self.reply: Reply | None = None
        self._index = 0
        self._unsent = memoryview(b"")
        self._received = bytearray()

    def ask(self, ask: Ask) -> bool:
        """Begin to send; True once all is sent."""
        self._index, self._unsent = ask.index, memoryview(ask.data)
        self.asked = time.perf_counter()
        return self.flush()

    def flush(self) -> bool:
        while self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return False
        return True

    def receive(self) -> bool:
        """Take what has come; True once it is an answer, which is then the caller's `reply`."""
        data = self.socket.recv(_RECEIVED)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        headers = bytes(self._received[: end + 2]).lower()
        _, found, length = headers.partition(b"\r\ncontent-length:")
        if not found:
            raise ConnectionError("an answer without Content-Length")
        stop = end + 4 + int(length.split(b"\r\n", 1)[0])
        if len(self._received) < stop:
            return False
        self.reply = Reply(self._index, headers, bytes(self._received[end + 4 : stop]))
        self._received.clear()
        if headers[9:12] != b"200":
            raise Refused(f"{headers[:12].decode()}: {self.reply.body[:300].decode(errors='replace')}")
        return True
