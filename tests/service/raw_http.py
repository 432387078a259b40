"""HTTP by hand, for tests: bytes on a socket to a running service, and what comes back."""

from __future__ import annotations

import json
import socket
import time

from tests.live import Process

SLOWEST = 1.0
PATIENCE = 20.0


def connect(service: Process) -> socket.socket:
    host, port = service.url().removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def post(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /v1/rank HTTP/1.1", b"host: x", b"content-type: application/json", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


def everything(client: socket.socket) -> bytes:
    """What is answered until the other side hangs up; it must, within the patience."""
    got = b""
    try:
        while piece := client.recv(65536):
            got += piece
    except ConnectionError:
        pass
    return got


def answers(client: socket.socket, count: int) -> None:
    """Read until so many requests are answered with 200."""
    got = b""
    while got.count(b"HTTP/1.1 200") < count:
        piece = client.recv(1 << 20)
        assert piece, got[:200]
        got += piece


def problem(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer, which has to be a problem document and say that it is the last."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return int(head[9:12]), json.loads(body)["code"]


def trickle(client: socket.socket, data: bytes) -> bytes:
    """Send a byte now and then, long enough to be slower than allowed; what is answered in the end."""
    give_up = time.monotonic() + PATIENCE
    client.settimeout(SLOWEST / 10)
    try:
        for at in range(len(data)):
            assert time.monotonic() < give_up, "it may trickle for ever"
            client.sendall(data[at : at + 1])
            try:
                if got := client.recv(65536):
                    client.settimeout(PATIENCE)
                    return got + everything(client)
            except TimeoutError:
                continue
    except ConnectionError:
        return b""
    raise AssertionError("too short to be slow")
