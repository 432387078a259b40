"""Mutations: valid bytes made invalid, each from a random generator that the caller seeds. They know no service."""

from __future__ import annotations

import json
import string
from random import Random
from typing import Any

HUGE = "[[HUGE]]"
NUMBERS = ("NaN", "-Infinity", "1e400", "-1e400", "1e-400", "9" * 400, "-0", "0x10", "01", "1.", "1e39", "4e38")
STRINGS = ('"\\ud800"', '"\\u0000"', '"' + "x" * 70_000 + '"', '""', '"\\x"', "'a'", '"é\u2028😀"')
OTHERS = ("null", "true", "{}", "[]", "[" * 5000, '{"a":' * 5000, "[" * 300 + "]" * 300, "")
NAMES = (
    *(b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"expect", b"connection"),
    *(b"x-request-id", b"traceparent", b"tracestate", b"idempotency-key", b"upgrade", b"authorization", b"host"),
    *(
        b"x-rankonce-shadow",
        b"origin",
        b"sec-fetch-site",
        b"x-request-deadline-ms",
        b"accept",
        b"x-" + b"n" * 900,
        b"",
        b" ",
        b"a b",
        b"\xff",
    ),
)
VALUES = (
    *(b"", b"0", b"-1", b"9" * 40, b"1e3", b"chunked", b"gzip, chunked", b"chunked, chunked", b"100-continue", b"1"),
    *(b"identity", b"gzip", b"close", b"Upgrade", b"websocket", b"\xff\xfe", b"a\x00b", b"v" * 9000, b"a\rb", b"0x10"),
    *(b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"application/json; charset=\xff", b"5, 5", b"Bearer \xff"),
)
_TOKENS = (
    b"\x00",
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b'"',
    b"{",
    b"]",
    b",",
    b":",
    b"\\",
    b"\r\n",
    b"\r\n\r\n",
)


def mutated(random: Random, data: bytes) -> bytes:
    """One to four small damages: a flipped bit, a cut, a repeated, moved or foreign piece."""
    for _ in range(random.randint(1, 4)):
        if not data:
            return random.choice(_TOKENS)
        at = random.randrange(len(data))
        to = min(len(data), at + random.choice((1, 2, 4, 16, 64)))
        kind = random.randrange(7)
        if kind == 0:
            data = data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = data[:at] + data[to:]
        elif kind == 3:
            data = data[:at] + data[at:to] * random.choice((2, 3, 50)) + data[to:]
        elif kind == 4:
            data = data[:at] + random.choice(_TOKENS) + data[at:]
        elif kind == 5:
            data = data[:at] + random.randbytes(to - at) + data[to:]
        else:
            other = random.randrange(len(data))
            data = data[:at] + data[other : other + 32] + data[at:]
    return data


def odd_json(random: Random, body: dict[str, Any]) -> bytes:
    """The body with one value replaced by what JSON, or the wire type, does not allow there; or a key doubled."""
    body = json.loads(json.dumps(body))
    parent, key = random.choice(list(_places(body)))
    if random.random() < 0.15 and isinstance(parent, dict):
        inner = json.dumps(parent)
        doubled = inner[:-1] + f", {json.dumps(key)}: {random.choice((*NUMBERS, *OTHERS[:4]))}" + "}"
        return json.dumps(body).replace(inner, doubled, 1).encode("utf-8", "surrogatepass")
    if random.random() < 0.1 and isinstance(parent, dict):
        parent["".join(random.choices(string.printable, k=random.choice((1, 8, 4000))))] = 1
        return json.dumps(body).encode()
    parent[key] = HUGE
    value = random.choice((NUMBERS, STRINGS, OTHERS))
    return json.dumps(body).replace(f'"{HUGE}"', random.choice(value)).encode("utf-8", "surrogatepass")


def odd_headers(random: Random) -> list[bytes]:
    """Header lines that no client should send."""
    line = random.choice(NAMES) + random.choice((b": ", b":", b" : ", b"")) + random.choice(VALUES)
    return [line] * (random.choice((2, 100, 3000)) if random.random() < 0.1 else 1)


def _places(node: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value in a JSON document."""
    found: list[tuple[Any, Any]] = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found.append((node, key))
        found += _places(value)
    return found
