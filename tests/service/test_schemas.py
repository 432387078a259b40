"""The wire types: strict in, lean out."""

from __future__ import annotations

import math

import msgspec
import pytest

from service.schemas import (
    Candidate,
    EventsRequest,
    HistoryInfo,
    ModelRef,
    RankedCandidate,
    RankRequest,
    RankResponse,
)


def test_a_minimal_request_means_the_defaults() -> None:
    """Member, surface and candidates suffice."""
    request = msgspec.json.decode(b'{"member_id":"m","surface":"feed","candidates":[{"id":"a"}]}', type=RankRequest)

    assert request == RankRequest("m", "feed", [Candidate("a")])
    assert (request.mode, request.limit, request.reuse_encoding, request.logits) == (None, None, True, False)


@pytest.mark.parametrize("features", ["[1, 2.5]", '{"age": 1}'])
def test_features_come_by_place_or_by_name(features: str) -> None:
    """Both forms decode; integers become floats."""
    candidate = msgspec.json.decode(f'{{"id": "a", "features": {features}}}', type=Candidate)

    values = candidate.features.values() if isinstance(candidate.features, dict) else candidate.features
    assert values is not None
    assert all(isinstance(value, float) for value in values)


def test_an_answer_leaves_out_what_it_has_not() -> None:
    """No explanation, no logits, no flag: no keys."""
    answer = RankResponse(
        "r",
        ModelRef("feed", "1"),
        "amortized",
        HistoryInfo(0, "cold_start"),
        [RankedCandidate("a", 1, 0.5, {"c": 0.5})],
    )

    assert msgspec.json.decode(msgspec.json.encode(answer))["ranked"] == [
        {"id": "a", "rank": 1, "score": 0.5, "predictions": {"c": 0.5}}
    ]


def test_msgspec_still_writes_nan_as_null() -> None:
    """Why scores are checked to be finite before they are encoded; if this changes, the check may go."""
    assert msgspec.json.encode(math.nan) == b"null"


@pytest.mark.parametrize("events", [0, 1001])
def test_a_batch_holds_one_to_a_thousand_events(events: int) -> None:
    """Neither none nor a flood."""
    event = '{"item_id": "a", "action": "view", "timestamp": 1}'
    body = f'{{"member_id": "m", "events": [{",".join([event] * events)}]}}'

    with pytest.raises(msgspec.ValidationError, match="events"):
        msgspec.json.decode(body, type=EventsRequest)


@pytest.mark.parametrize("timestamp", ["-1", "9007199254740993", "1.5", "true", '"1"'])
def test_timestamps_are_milliseconds_that_every_client_can_hold(timestamp: str) -> None:
    """From 0 to 2^53, whole numbers only."""
    with pytest.raises(msgspec.ValidationError, match="timestamp"):
        msgspec.json.decode(
            f'{{"member_id": "m", "events": [{{"item_id": "a", "action": "v", "timestamp": {timestamp}}}]}}',
            type=EventsRequest,
        )
