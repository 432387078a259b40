"""The proxy's faults, as a client on the other side of a real socket sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from loadtests.faults.proxy import Fault, FaultProxy


class Talk(NamedTuple):
    """A connection through the proxy to a server that answers each line with the same line."""

    proxy: FaultProxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, line: bytes) -> bytes:
        self.writer.write(line)
        return await self.reader.read(100)


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with (
        await asyncio.start_server(echo, "127.0.0.1", 0) as server,
        FaultProxy(server.sockets[0].getsockname()[1]) as proxy,
        asyncio.timeout(20),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        yield Talk(proxy, reader, writer)
        writer.close()


async def test_without_a_fault_it_is_not_there(talk: Talk) -> None:
    """What is sent comes back, and the connection is counted."""
    assert await talk.say(b"hello\n") == b"hello\n"
    assert (talk.proxy.connections, talk.proxy.accepted) == (1, 1)


async def test_a_black_hole_swallows_answers_and_its_end_closes_the_connection(talk: Talk) -> None:
    """Nothing comes while it lasts; a stream that lost bytes is not used again."""
    talk.proxy.set(Fault.black_hole)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await talk.say(b"hello\n")
    talk.proxy.set(Fault.passing)
    with pytest.raises(ConnectionResetError):
        await talk.reader.read()


async def test_a_delay_brings_the_same_bytes_later(talk: Talk) -> None:
    """Not before the time that was set."""
    talk.proxy.set(Fault.delay, 0.1)
    begun = time.perf_counter()
    assert await talk.say(b"hello\n") == b"hello\n"
    assert time.perf_counter() - begun >= 0.1


async def test_a_half_closed_connection_still_takes_bytes(talk: Talk) -> None:
    """The client reads the end and may write on; new connections are no better."""
    talk.proxy.set(Fault.half_close)
    assert await talk.say(b"hello\n") == b""
    reader, writer = await asyncio.open_connection("127.0.0.1", talk.proxy.port)
    assert await reader.read() == b""
    writer.close()


async def test_garbage_comes_instead_of_the_answer(talk: Talk) -> None:
    """As many bytes, and others; or those that the test gives."""
    talk.proxy.set(Fault.garbage)
    answer = await talk.say(b"hello, hello, hello\n")
    assert len(answer) == 20
    assert answer != b"hello, hello, hello\n"
    talk.proxy.set(Fault.garbage, answer=b"+OK\r\n")
    assert await talk.say(b"hello\n") == b"+OK\r\n"


async def test_a_reset_ends_open_and_new_connections(talk: Talk) -> None:
    """The kernel says reset, not end of stream."""
    talk.proxy.set(Fault.reset)
    with pytest.raises(ConnectionResetError):
        await talk.reader.read()
    reader, writer = await asyncio.open_connection("127.0.0.1", talk.proxy.port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_server_that_is_gone_ends_the_connection(talk: Talk) -> None:
    """Nobody listens at the target: a new connection is reset; with another target it works."""
    alive, talk.proxy.target = talk.proxy.target, 1
    reader, writer = await asyncio.open_connection("127.0.0.1", talk.proxy.port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    talk.proxy.target = alive
    assert await talk.say(b"hello\n") == b"hello\n"
