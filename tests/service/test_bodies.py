"""Bodies: what is accepted, and that every refusal names what is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.bodies import BodyBudget, BodyDecoder, check_media_type, read_body
from service.errors import BodyTooLarge, InvalidJson, InvalidRequest, Overloaded, UnsupportedMediaType
from service.schemas import RankRequest

DECODER = BodyDecoder(RankRequest)


def rank_body(candidate: str = '{"id": "a"}', rest: str = "") -> bytes:
    return f'{{"member_id": "m", "surface": "feed", "candidates": [{candidate}]{rest}}}'.encode()


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (rank_body('{"id": "a", "bid": -1}'), "candidates[0].bid"),
        (rank_body('{"id": "a", "bid": true}'), "candidates[0].bid"),
        (rank_body('{"id": "a", "bid": 1e400}'), "candidates[0].bid"),
        (rank_body('{"id": "a", "bid": NaN}'), "candidates[0].bid"),
        (rank_body('{"id": "a", "bid": -Infinity}'), "candidates[0].bid"),
        (rank_body('{"id": "a", "features": [1, NaN]}'), "candidates[0].features[1]"),
        (rank_body('{"id": "a", "embedding": ["x"]}'), "candidates[0].embedding[0]"),
        (rank_body('{"id": "a"}, {"id": ""}'), "candidates[1].id"),
        (rank_body('{"id": "a"}, {}'), "candidates[1].id"),
        (rank_body('{"id": "a", "bidd": 1}'), "candidates[0].bidd"),
        (rank_body(""), "candidates"),
        (rank_body(rest=', "limit": 0'), "limit"),
        (rank_body(rest=', "mode": "fast"'), "mode"),
        (rank_body(rest=', "weights": {"click": "1"}'), "weights[...]"),
        (rank_body(rest=', "request_time": 1.5'), "request_time"),
        (rank_body(rest=', "colour": 1'), "colour"),
        (b'{"surface": "feed", "candidates": [{"id": "a"}]}', "member_id"),
        (b'{"member_id": "m", "surface": "shop", "candidates": [{"id": "a"}]}', "surface"),
        (b"[]", "body"),
        (b'{"member_id": ' + b"[" * 100_000, "member_id"),
    ],
)
def test_a_body_that_cannot_be_meant_names_the_field(body: bytes, field: str) -> None:
    """msgspec's path, a missing or unknown field's own name, and even the place of a NaN reach the caller."""
    with pytest.raises(InvalidRequest) as caught:
        DECODER.decode(body)

    assert (caught.value.field, caught.value.code) == (field, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        rank_body() + b"x",
        rank_body()[:-1],
        b"[" * 100_000,
        b"NaN",
        rank_body('{"id": "a\xff"}').replace("\xff".encode(), b"\xff"),
        rank_body('{"id": "\\ud800"}'),
    ],
)
def test_what_is_not_json_is_refused_as_a_whole(body: bytes) -> None:
    """Truncated, trailing, deeply nested and badly encoded bodies are no JSON: the field is the body."""
    with pytest.raises(InvalidRequest) as caught:
        DECODER.decode(body)

    assert caught.value.field == "body"
    assert isinstance(caught.value, InvalidJson) or body == b"[" * 100_000


def test_an_endless_field_name_is_not_echoed_whole() -> None:
    """The answer to an absurd body stays small."""
    with pytest.raises(InvalidRequest) as caught:
        DECODER.decode(rank_body(rest=f', "{"x" * 100_000}": 1'))

    assert len(caught.value.field) < 300
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", 'application/json; charset="UTF-8"', "application/json;"]
)
def test_json_is_json_however_it_is_spelt(content_type: str) -> None:
    """Media types compare without case, and UTF-8 may be said aloud."""
    check_media_type({"content-type": content_type})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json; profile=x"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_media_types_are_refused(headers: dict[str, str]) -> None:
    """Only uncompressed UTF-8 JSON is read, so no bomb can unfold in the service."""
    with pytest.raises(UnsupportedMediaType):
        check_media_type(headers)


async def test_chunks_are_joined() -> None:
    """A body may come in any number of pieces."""
    assert await read_body({}, chunks(b"ab", b"", b"c"), 3) == b"abc"


async def test_an_announced_body_that_is_too_long_is_not_read() -> None:
    """Content-Length alone suffices for the refusal."""

    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    with pytest.raises(BodyTooLarge):
        await read_body({"content-length": "9" * 30}, never(), 10)


async def test_bodies_that_are_being_received_share_a_budget() -> None:
    """However many requests send at a time; what is decoded or given up is free again."""
    budget = BodyBudget(10)
    with budget.receiving() as first, budget.receiving() as second:
        first(6)
        second(4)
        with pytest.raises(Overloaded):
            await read_body({}, chunks(b"x"), 10, first)
    with pytest.raises(BodyTooLarge), budget.receiving() as third:
        await read_body({}, chunks(b"12345", b"67890", b"x"), 10, third)
    with budget.receiving() as fourth:
        assert await read_body({}, chunks(b"12345", b"67890"), 10, fourth) == b"1234567890"


async def test_an_unannounced_body_is_counted_while_it_comes() -> None:
    """A chunked body is cut off at the limit, however long it would have become."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 10

    with pytest.raises(BodyTooLarge):
        await read_body({}, endless(), 100)

    assert taken == 11
