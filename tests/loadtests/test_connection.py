"""The raw connection."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.connection import Address, Connection, loopback
from tests.loadtests.conftest import Answering


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "http://example.org:8000", "https://127.0.0.1:1", "127.0.0.1"])
def test_load_is_sent_nowhere_else(url: str) -> None:
    """Anything but http on this machine, with a port, is refused."""
    with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
        loopback(url)


async def test_requests_follow_each_other_on_one_connection(answering: Answering) -> None:
    """Bodies of any length come back whole, in order, with their status."""
    with answering(lambda body: (200 if len(body) < 1000 else 413, body[::-1])) as url:
        connection = await Connection.open(loopback(url))
        for body in (b"abc", b"", b"x" * 1_000_000 + b"y"):
            answer = await connection.rank(body)
            assert answer.body == body[::-1]
            assert answer.status == (200 if len(body) < 1000 else 413)
        connection.close()


async def serve_raw(response: bytes) -> tuple[asyncio.Server, Address]:
    """A server that sends these very bytes, a few at a time, and hangs up."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in response:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    return server, Address(host, port)


async def test_an_answer_may_come_in_pieces() -> None:
    """Headers and body are put together however they are cut."""
    server, address = await serve_raw(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\nC: d\r\n\r\nhello")
    async with server:
        connection = await Connection.open(address)
        assert (await connection.rank(b"{}")).body == b"hello"
        connection.close()


@pytest.mark.parametrize(
    "response", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", b"HTTP/1.1 200 OK\r\n\r\n"]
)
async def test_a_lost_answer_is_an_error(response: bytes) -> None:
    """Hanging up early, or an answer without a length, raises and does not wait for ever."""
    server, address = await serve_raw(response)
    async with server:
        connection = await Connection.open(address)
        assert not connection.closed
        with pytest.raises(ConnectionError):
            await connection.rank(b"{}")
        with pytest.raises(ConnectionError):
            await connection.rank(b"{}")
        assert connection.closed
