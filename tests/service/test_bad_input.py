"""Every kind of bad request over a real socket: its status, its stable code, and the field it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.live import Live
from tests.service.test_routes import JSON, PROBLEM, ads, post, request


def raw(text: str) -> bytes:
    """A feed request whose first candidate's feature `age` is the given text."""
    return json.dumps(request(candidates=[{"id": "a", "features": {"age": "HERE"}}])).replace('"HERE"', text).encode()


BAD: dict[str, tuple[bytes | dict[str, Any], int, str, str]] = {
    "no candidates": (request(candidates=[]), 422, "invalid_request", "candidates"),
    "too many": (
        request(candidates=[{"id": f"i{i}"} for i in range(1001)]),
        422,
        "invalid_request",
        "candidates",
    ),
    "duplicate ids": (request(candidates=[{"id": "a"}, {"id": "a"}]), 422, "invalid_request", "candidates[1].id"),
    "unknown surface": (request(surface="shop"), 422, "invalid_request", "surface"),
    "unknown mode": (request(mode="fast"), 422, "invalid_request", "mode"),
    "wrong embedding width": (
        request(candidates=[{"id": "a"}, {"id": "b", "embedding": [1.0, 2.0]}]),
        422,
        "invalid_request",
        "candidates[1].embedding",
    ),
    "wrong feature count": (
        request(candidates=[{"id": "a", "features": [1.0]}]),
        422,
        "invalid_request",
        "candidates[0].features",
    ),
    "unknown feature": (
        request(candidates=[{"id": "a", "features": {"colour": 1}}]),
        422,
        "invalid_request",
        "candidates[0].features.colour",
    ),
    "negative bid": (ads({"id": "a", "bid": -0.1}), 422, "invalid_request", "candidates[0].bid"),
    "missing bid": (ads({"id": "a", "bid": 1}, {"id": "b"}), 422, "invalid_request", "candidates[1].bid"),
    "a bid in the feed": (request(candidates=[{"id": "a", "bid": 1}]), 422, "invalid_request", "candidates[0].bid"),
    "true for a number": (ads({"id": "a", "bid": True}), 422, "invalid_request", "candidates[0].bid"),
    "NaN": (raw("NaN"), 422, "invalid_request", "candidates[0].features"),
    "1e400": (raw("1e400"), 422, "invalid_request", "candidates[0].features[...]"),
    "beyond float32": (raw("1e39"), 422, "invalid_request", "candidates[0].features"),
    "unknown field": (request(colour="red"), 422, "invalid_request", "colour"),
    "unknown weight": (request(weights={"buy": 1}), 422, "invalid_request", "weights.buy"),
    "unknown context": (request(context={"moon": 1}), 422, "invalid_request", "context.moon"),
    "empty member": (request(member_id=""), 422, "invalid_request", "member_id"),
    "zero limit": (request(limit=0), 422, "invalid_request", "limit"),
    "no body": (b"", 422, "invalid_json", "body"),
    "half a body": (b'{"member_id": "m"', 422, "invalid_json", "body"),
    "invalid UTF-8": (b'{"member_id": "\xff\xfe"}', 422, "invalid_json", "body"),
    "deep nesting": (b'{"candidates": ' + b"[" * 200_000, 422, "invalid_request", "candidates[0]"),
    "10 MB": (b'{"member_id": "' + b"x" * 10_000_000, 413, "body_too_large", ""),
}


@pytest.mark.parametrize(("body", "status", "code", "field"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_problem_that_names_the_field(
    live: Live, body: bytes | dict[str, Any], status: int, code: str, field: str
) -> None:
    """Each kind of bad request has its status, its stable code and its place; the connection lives on."""
    answer = post(live, body)

    problem = answer.json()
    assert (answer.status_code, problem["code"], answer.headers["content-type"]) == (status, code, PROBLEM)
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem.get("field", "").startswith(field)
    assert post(live, request()).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/json; charset=latin-1"])
def test_another_content_type_is_refused(live: Live, content_type: str) -> None:
    """Only JSON is read, whatever the bytes look like."""
    answer = live.http.post("/v1/rank", content=json.dumps(request()), headers={"content-type": content_type})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_chunked_body_is_read(live: Live) -> None:
    """Content-Length is not needed."""

    def pieces() -> Iterator[bytes]:
        body = json.dumps(request()).encode()
        yield body[:20]
        yield body[20:]

    assert live.http.post("/v1/rank", content=pieces(), headers=JSON).status_code == 200


def test_an_endless_chunked_body_is_cut_off(live: Live) -> None:
    """Without a Content-Length the bytes are counted as they come."""

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * 65536

    try:
        answer = live.http.post("/v1/rank", content=endless(), headers=JSON)
    except httpx.WriteError:  # the service may hang up on who keeps sending
        return
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
