"""The quick form of `make fuzz`, and that the fuzzers see what they are there to see."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path

import pytest

from tests.fuzz import decoders, wire
from tests.fuzz.__main__ import parts, report
from tests.fuzz.part import Part
from tests.fuzz.target import SETTINGS, Target
from tests.live import process

CASES = 600
BODIES = (("/v1/rank", {"member_id": "m", "surface": "feed", "candidates": [{"id": "a"}]}),)


def test_bad_input_finds_nothing(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few hundred cases of each kind: no 500, no hang, no growth, and the service ranks on without a stack logged."""
    with process("serve", "--port", 0, "--model-repository", repository, **SETTINGS) as service:
        done = list(parts(repository / "feed" / "1", Target.of(service.url(), service.popen.pid), CASES))

    assert [part.failures for part in done] == [[], [], []]
    assert report(done, CASES) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["cases"] >= CASES
    assert told["parts"]["wire"]["answered_200"] > 0, "damage so heavy that nothing gets past the parser tests little"
    assert "Traceback" not in "".join(service.log)


async def ill_target(answer: bytes, bodies: tuple[tuple[str, dict[str, object]], ...]) -> Part:
    """A few cases against a server that answers everything alike."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()  # a close before the rest has come would reset the connection, and the answer with it
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        target = Target(f"http://127.0.0.1:{port}", os.getpid(), bodies)
        return await asyncio.to_thread(lambda: asyncio.run(wire.fuzz(target, 10)))


async def test_a_500_is_a_failure() -> None:
    """What must not be answered is told with its case, and so is a service that no longer ranks."""
    part = await ill_target(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", BODIES)

    assert sum("status 500" in failure for failure in part.failures) == 10
    assert any("a valid /v1/rank is answered with 500" in failure for failure in part.failures)


async def test_a_refusal_that_is_no_problem_document_is_a_failure() -> None:
    """Also what a web server says by itself has to be read by a client."""
    part = await ill_target(b"HTTP/1.1 400 Bad\r\ncontent-length: 3\r\nconnection: close\r\n\r\nBad", BODIES)

    assert sum("no problem document" in failure for failure in part.failures) == 10


def test_a_case_is_its_number() -> None:
    """Equal numbers give equal bytes, so that a finding can be tried again."""
    target = Target("http://127.0.0.1:1", 1, BODIES)
    first = [wire.request_bytes(target, number) for number in range(200)]

    assert first == [wire.request_bytes(target, number) for number in range(200)]
    assert len(set(first)) > 150


def test_a_decoder_that_raises_is_a_failure(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is not the reader's own refusal is told with the input that caused it."""
    monkeypatch.setattr(decoders, "decode_log", lambda *_: 1 / 0)
    part = decoders.fuzz(repository / "feed" / "1", 50)

    assert sum("ZeroDivisionError" in failure for failure in part.failures) == 2
    assert report([part], 50) == 1
