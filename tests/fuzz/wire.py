"""Bytes on the wire: damaged bodies, heads, chunks and pipelines over real sockets.

Promised for each: an answer that is no 500, or a closed connection, in time; of the whole: bounded memory and a service
that ranks on. A case is named by its number, and its bytes follow from the number alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from random import Random

import msgspec

from service.schemas import Problem
from tests.fuzz.mutations import mutated, odd_headers, odd_json
from tests.fuzz.part import Part
from tests.fuzz.target import MOST_GROWTH_MB, Target

SEED = 20_000
QUIET_SECONDS = 0.25  # a request that is not answered for so long is taken for unfinished, and the sender leaves
HANG_SECONDS = 15.0
CONNECTIONS = 16
CHECK_EVERY = 500
PATHS = (b"/v1/members/m%00/history", b"/v1/members/%ff/history", b"/dashboard/data?window=1e9", b"/metrics", b"/docs")
MEANT = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
"""The answers above 499 that the document allows."""


async def fuzz(target: Target, cases: int) -> Part:
    part = Part("wire")
    free, statuses = asyncio.Semaphore(CONNECTIONS), Counter[int]()

    async def one(number: int) -> None:
        async with free:
            found = await _try(target, number, statuses)
        part.cases += 1
        if found:
            part.fail(f"case {number}: {found}")

    before, at_first = target.answered_500(), 0.0
    for start in range(0, cases, CHECK_EVERY):
        await asyncio.gather(*map(one, range(start, min(cases, start + CHECK_EVERY))))
        at_first = at_first or target.memory_mb()
        if complaint := await asyncio.to_thread(target.complaint):
            part.fail(f"after case {part.cases}: {complaint}")
            break
    grown = target.memory_mb() - at_first
    part.facts |= {"memory_mb": round(target.memory_mb()), "grown_mb": round(grown)}
    part.facts |= {f"answered_{status}" if status else "closed": count for status, count in sorted(statuses.items())}
    if grown > MOST_GROWTH_MB:
        part.fail(f"resident memory grew by {grown:.0f} MiB")
    if (broken := target.answered_500() - before) > 0:
        part.fail(f"the service counts {broken:.0f} answers with 500")
    return part


def request_bytes(target: Target, number: int) -> bytes:
    """The bytes of a case."""
    random = Random(SEED + number)
    return random.choice(KINDS)(random, target)


async def _try(target: Target, number: int, statuses: Counter[int]) -> str | None:
    """Send a case; what was wrong with the answer, if anything."""
    data = request_bytes(target, number)
    try:
        async with asyncio.timeout(HANG_SECONDS):
            head, body = await _exchange(target, data, pause=number % 5 == 0)
    except TimeoutError:
        return f"no end after {HANG_SECONDS:g} s of {data[:120]!r}…"
    except ConnectionRefusedError:
        return "connection refused"
    except (ConnectionError, BrokenPipeError):
        head = body = b""  # it hung up on us, which it may
    statuses[int(head[9:12]) if head[9:12].isdigit() else 0] += 1
    return _fault(head, body) if head else None


async def _exchange(target: Target, data: bytes, pause: bool) -> tuple[bytes, bytes]:
    """Head and body of the first answer; empty where there is none."""
    reader, writer = await asyncio.open_connection(*target.address)
    try:
        rest = data
        if pause and len(data) > 1:
            writer.write(data[: len(data) // 2])
            await asyncio.sleep(0.002)
            rest = data[len(data) // 2 :]
        writer.write(rest)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), QUIET_SECONDS)
        except TimeoutError:
            writer.write_eof()  # unfinished: whatever comes now must come soon, and then the end
            head = await reader.read()
        except asyncio.IncompleteReadError as error:
            head = error.partial
        return head, b"" if data.startswith(b"HEAD ") else await _body(reader, head)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    with contextlib.suppress(asyncio.IncompleteReadError):
        return await reader.readexactly(length)
    return b""


def _fault(head: bytes, body: bytes) -> str | None:
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        return f"not HTTP: {head[:80]!r}"
    status = int(rest[:3])
    if status >= 500 and status not in MEANT:
        return f"status {status}: {body[:200]!r}"
    if status >= 400 and body:
        try:
            msgspec.json.decode(body, type=Problem)
        except msgspec.DecodeError:
            return f"status {status} is no problem document: {body[:100]!r}"
    return None


def _framed(path: bytes, body: bytes, headers: tuple[bytes, ...] = ()) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"host: fuzz", b"content-type: application/json", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


def _valid(random: Random, target: Target) -> tuple[bytes, bytes]:
    path, body = random.choice(target.bodies)
    return path.encode(), json.dumps(body).encode()


def _damaged_body(random: Random, target: Target) -> bytes:
    path, body = _valid(random, target)
    return _framed(path, mutated(random, body))


def _odd_body(random: Random, target: Target) -> bytes:
    path, body = random.choice(target.bodies)
    return _framed(path.encode(), odd_json(random, body))


def _damaged_request(random: Random, target: Target) -> bytes:
    return mutated(random, _framed(*_valid(random, target)))


def _odd_head(random: Random, target: Target) -> bytes:
    path, body = _valid(random, target)
    return _framed(path, body, tuple(line for _ in range(random.randint(1, 3)) for line in odd_headers(random)))


def _chunked(random: Random, target: Target) -> bytes:
    path, body = _valid(random, target)
    pieces = [body[at : at + 9] for at in range(0, len(body), 9)] if random.random() < 0.5 else [body]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    head = b"POST %b HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n" % path
    return head + (mutated(random, chunks) if random.random() < 0.8 else chunks)


def _pipelined(random: Random, target: Target) -> bytes:
    whole = [_framed(*_valid(random, target)) for _ in range(random.choice((2, 5, 40)))]
    whole[-1] = mutated(random, whole[-1])
    return b"".join(whole)


def _odd_target(random: Random, _: Target) -> bytes:
    method = random.choice((b"GET", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"PUT", b"BREW", b"PRI"))
    path = random.choice(PATHS)
    path = mutated(random, path) if random.random() < 0.7 else path * random.choice((1, 2, 3000))
    version = random.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 x", b""))
    return method + b" " + path + b" " + version + b"\r\nhost: x\r\n\r\n"


KINDS: tuple[Callable[[Random, Target], bytes], ...] = (
    _damaged_body,
    _odd_body,
    _damaged_request,
    _odd_head,
    _chunked,
    _pipelined,
    _odd_target,
)
