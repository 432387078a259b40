"""The closed loop against real sockets."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from loadtests.peers.closed_loop import Ask, ClosedLoop, Refused, request
from tests.loadtests.conftest import Answering, stalling

INDEFINITELY = float("inf")


def numbered(count: int, size: int = 10) -> Iterator[Ask]:
    """So many requests with bodies of their own."""
    return (Ask(index, request("/", "text/plain", b"%d:" % index + b"x" * size)) for index in range(count))


def test_every_request_is_asked_once_and_answered_by_its_own(answering: Answering) -> None:
    """Four callers share what there is to ask; each one's last answer names its request; headers are lower case."""
    asked = []

    def echo(body: bytes) -> tuple[int, bytes]:
        asked.append(int(body.split(b":")[0]))
        return 200, body

    with answering(echo) as url, closing(ClosedLoop(url, 4)) as loop:
        block = loop.run(numbered(21), INDEFINITELY)

    assert sorted(asked) == list(range(21))
    assert len(block.replies) == 4
    assert all(reply.body.startswith(b"%d:" % reply.index) for reply in block.replies)
    assert all(reply.headers.startswith(b"http/1.1 200 x\r\n") for reply in block.replies)


def test_a_body_larger_than_any_buffer_arrives_whole(answering: Answering) -> None:
    """What the socket does not take at once is sent on as it empties; so is the answer received."""
    size = 20_000_000
    with answering(lambda body: (200, body)) as url, closing(ClosedLoop(url, 2)) as loop:
        block = loop.run(numbered(2, size), INDEFINITELY)

    assert [len(reply.body) for reply in block.replies] == [size + 2] * 2


def test_counting_begins_when_every_caller_has_been_answered(answering: Answering) -> None:
    """A first answer that takes long, as a cold server's, is in no figure; afterwards the clock runs so long."""
    slow = stalling(lambda body: (200, b""), at=1, seconds=0.5)
    asks = itertools.cycle(numbered(5))
    with answering(slow) as url, closing(ClosedLoop(url, 2)) as loop:
        block = loop.run(asks, 0.2)

    assert block.seconds == 0.2
    assert len(block.latencies) == block.rate * 0.2 > 0
    assert min(block.latencies) > 0
    assert max(block.latencies) < 0.5


@pytest.mark.parametrize("status", [422, 503])
def test_an_answer_that_is_none_ends_the_block(answering: Answering, status: int) -> None:
    """With its status and first words: a refused request must not count as a fast one."""
    with (
        answering(lambda body: (status, b"not now")) as url,
        closing(ClosedLoop(url, 1)) as loop,
        pytest.raises(Refused, match=f"{status}: not now"),
    ):
        loop.run(numbered(3), INDEFINITELY)


def test_a_lost_connection_is_an_error() -> None:
    """A server that goes away does not look like an idle one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        closing(ClosedLoop(f"http://127.0.0.1:{server.getsockname()[1]}", 1)) as loop,
    ):
        server.accept()[0].close()
        with pytest.raises(ConnectionError):
            loop.run(numbered(3), INDEFINITELY)


def test_load_never_leaves_this_machine() -> None:
    """Any other address is refused before a connection is made."""
    with pytest.raises(ValueError, match="this machine"):
        ClosedLoop("http://192.0.2.1:80", 1)
