"""RankClient: typed calls, and errors that can be branched on."""

from __future__ import annotations

import httpx
import pytest

from service.client import ProblemError, RankClient, parse_server_timing
from service.schemas import Candidate, Event, RankRequest
from tests.live import Live


def test_a_ranking_carries_its_stages(live: Live) -> None:
    """The answer is typed, and Server-Timing becomes seconds."""
    ranked = live.client.rank(RankRequest("m", "feed", [Candidate("item-1"), Candidate("item-2")], limit=1))

    assert [candidate.rank for candidate in ranked.response.ranked] == [1]
    assert set(ranked.stages) == {"history", "assemble", "encode", "score", "order"}
    assert all(0 <= seconds < 5 for seconds in ranked.stages.values())


def test_a_refusal_is_a_typed_error(live: Live) -> None:
    """The problem is decoded, and the error's text says what to fix."""
    with pytest.raises(ProblemError) as caught:
        live.client.rank(RankRequest("m", "ads", [Candidate("item-1")]))

    assert (caught.value.problem.code, caught.value.problem.field) == ("invalid_request", "candidates[0].bid")
    assert str(caught.value) == "422 invalid_request: candidates[0].bid: is required for ads"


def test_a_prefetch_answers_nothing_or_a_typed_error(live: Live) -> None:
    """The hint is heard; one that names no member is refused as a rank would be."""
    live.client.prefetch("m", "feed")

    with pytest.raises(ProblemError) as caught:
        live.client.prefetch("", "feed")
    assert (caught.value.problem.code, caught.value.problem.field) == ("invalid_request", "member_id")


def test_a_members_life(live: Live) -> None:
    """Append, inspect, erase."""
    live.client.append_events("life", [Event("item-1", "view", 1)])
    assert live.client.history("life").total == 1

    live.client.erase("life")
    with pytest.raises(ProblemError):
        live.client.history("life")


def test_retry_after_is_read() -> None:
    """A shed caller learns when to return."""

    def shed(_: httpx.Request) -> httpx.Response:
        problem = {"type": "t", "title": "t", "status": 429, "code": "overloaded", "detail": "d", "request_id": "r"}
        return httpx.Response(429, json=problem, headers={"retry-after": "3"})

    with RankClient("http://test", transport=httpx.MockTransport(shed)) as client, pytest.raises(ProblemError) as error:
        client.history("m")

    assert error.value.retry_after_seconds == 3


def test_a_proxys_page_is_an_error_too() -> None:
    """What is no problem document still becomes a ProblemError with its status."""
    page = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>Bad Gateway</html>"))

    with RankClient("http://test", transport=page) as client, pytest.raises(ProblemError) as error:
        client.history("m")

    assert (error.value.problem.status, error.value.problem.code) == (502, "http_error")


@pytest.mark.parametrize(
    ("header", "stages"),
    [
        ("", {}),
        ("score;dur=2.5", {"score": 0.0025}),
        ("history;dur=0.500, score;dur=3", {"history": 0.0005, "score": 0.003}),
        ("cache", {"cache": 0.0}),
    ],
)
def test_server_timing_is_parsed(header: str, stages: dict[str, float]) -> None:
    """Milliseconds on the wire, seconds here."""
    assert parse_server_timing(header) == stages
