"""FaultProxy: a TCP proxy on 127.0.0.1 that can fail in every way a network does. It does not know what it carries.

Faults concern what the server answers; what is sent to it passes, as a caller cannot know whether it arrived.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from enum import StrEnum

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of nought: closing sends RST


class Fault(StrEnum):
    """passing: none · black_hole: answers vanish · delay: answers come so much later · half_close: the sending side is
    closed, the receiving one stays open · garbage: random bytes, or given ones, instead of answers · reset: RST."""

    passing = "passing"
    black_hole = "black_hole"
    delay = "delay"
    half_close = "half_close"
    garbage = "garbage"
    reset = "reset"


class FaultProxy:
    """`async with FaultProxy(port) as proxy: proxy.url`, on the event loop that runs it.

    target: the server's port, which may be changed · connections: how many are open · accepted: how many ever were.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.accepted = 0
        self._fault = Fault.passing
        self._delay_seconds = 0.0
        self._garbage: bytes | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._random = random.Random(1)

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def connections(self) -> int:
        return len(self._open)

    def set(self, fault: Fault, delay_seconds: float = 0.0, answer: bytes | None = None) -> None:
        """From now on, for open connections and new ones. Bytes that a fault took do not come back: a connection that
        lost some is closed when the fault ends."""
        if self._fault is Fault.black_hole:
            self.cut()
        self._fault, self._delay_seconds, self._garbage = fault, delay_seconds, answer
        for client in self._open.values():
            if fault is Fault.half_close and client.can_write_eof():
                client.write_eof()
        if fault is Fault.reset:
            self.cut()

    def cut(self) -> None:
        """Reset every open connection."""
        for client in self._open.values():
            _reset(client)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._open[task] = writer
        try:
            if self._fault is Fault.reset:
                return
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pass_on(reader, server_writer))
                    both.create_task(self._answer(server_reader, writer))
            finally:
                server_writer.close()
        except* OSError:
            pass
        finally:
            del self._open[task]
            _reset(writer)

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._fault is Fault.half_close:
            client.write_eof()
        while chunk := await server.read(_CHUNK):
            if self._fault is Fault.delay:
                await asyncio.sleep(self._delay_seconds)
            if self._fault in (Fault.black_hole, Fault.half_close):
                continue
            if self._fault is Fault.garbage:
                chunk = self._garbage or self._random.randbytes(len(chunk))
            client.write(chunk)
            await client.drain()
        raise ConnectionResetError("the server closed")


async def _pass_on(client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
    while chunk := await client.read(_CHUNK):
        server.write(chunk)
        await server.drain()
    raise ConnectionResetError("the client closed")


def _reset(client: asyncio.StreamWriter) -> None:
    connection = client.get_extra_info("socket")
    if connection is not None and not client.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.transport.abort()
