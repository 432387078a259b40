"""The routes over a real socket: what each answers; bad input is in test_bad_input.py."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from service.client import ProblemError, history_path
from service.schemas import Candidate, Event, HistoryAction, RankRequest
from tests.live import Live

JSON = {"content-type": "application/json"}
PROBLEM = "application/problem+json"


def request(**fields: Any) -> dict[str, Any]:
    return {"member_id": "m", "surface": "feed", "candidates": [{"id": "item-1"}, {"id": "item-2"}]} | fields


def ads(*candidates: dict[str, Any]) -> dict[str, Any]:
    return request(surface="ads", candidates=list(candidates))


def post(live: Live, body: bytes | dict[str, Any], path: str = "/v1/rank", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return live.http.post(path, content=content, headers=JSON | {k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize("mode", ["amortized", "non_amortized"])
def test_a_feed_is_ranked(live: Live, mode: str) -> None:
    """Every candidate comes back once, best first, with predictions per task; the unknown one is flagged."""
    candidates = [{"id": "item-3"}, {"id": "never-seen"}, {"id": "item-1", "features": {"age": 2.0}}]
    answer = post(live, request(candidates=candidates, mode=mode), x_request_id="abc-1").json()

    assert (answer["request_id"], answer["mode"], answer["model"]) == ("abc-1", mode, {"name": "feed", "version": "1"})
    assert answer["history"] == {"length": 0, "source": "cold_start"}
    assert {c["id"]: c.get("unknown_item", False) for c in answer["ranked"]} == {
        "item-3": False,
        "never-seen": True,
        "item-1": False,
    }
    assert [c["rank"] for c in answer["ranked"]] == [1, 2, 3]
    assert [c["score"] for c in answer["ranked"]] == sorted((c["score"] for c in answer["ranked"]), reverse=True)
    for candidate in answer["ranked"]:
        expected = candidate["predictions"]["click"] + 2.0 * candidate["predictions"]["like"]
        assert candidate["score"] == pytest.approx(expected, rel=1e-5)


def test_ads_are_ranked_by_expected_revenue(live: Live) -> None:
    """score = 1000 · bid · click probability, and `limit` keeps the best."""
    answer = post(live, ads({"id": "item-1", "bid": 0.5}, {"id": "item-2", "bid": 0.0}) | {"limit": 1}).json()

    (best,) = answer["ranked"]
    assert best["id"] == "item-1"
    assert best["score"] == pytest.approx(1000 * 0.5 * best["predictions"]["click"], rel=1e-5)


def test_server_timing_tells_the_stages(live: Live) -> None:
    """The header has each stage in its order; the non-amortized mode encodes nothing."""
    stages = {
        mode: [
            part.partition(";")[0].strip()
            for part in post(live, request(mode=mode)).headers["server-timing"].split(",")
        ]
        for mode in ("amortized", "non_amortized")
    }

    assert stages["amortized"] == ["history", "assemble", "encode", "score", "order"]
    assert stages["non_amortized"] == ["history", "assemble", "score", "order"]


@pytest.mark.parametrize("given", ["has space", "x" * 129, "späße", ""])
def test_an_unsafe_request_id_is_replaced(live: Live, given: str) -> None:
    """What could break a log line is not repeated."""
    answer = live.http.get("/healthz", headers={"x-request-id": given.encode()})

    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32


def test_events_are_seen_by_the_next_rank(live: Live) -> None:
    """After the acknowledgement the history is one longer, also when an encoding of the old one was kept."""
    ask = RankRequest("reader", "feed", [Candidate("item-1")])
    for count in range(1, 4):
        live.client.append_events("reader", [Event(f"item-{count}", "click", 1000 + count)])
        history = live.client.rank(ask).response.history

        assert (history.length, history.source) == (count, "store")
        assert live.client.rank(ask).response.history.source == "cache"


def test_both_modes_agree_on_a_real_history(live: Live) -> None:
    """The same logits within the tolerance of the design, and the same order."""
    live.client.append_events("both", [Event(f"item-{i % 50 + 1}", "view", 1000 + i) for i in range(70)])
    candidates = [Candidate(f"item-{i}") for i in range(1, 40)]
    ask = RankRequest("both", "feed", candidates, logits=True, request_time=5000)

    answers = [live.client.rank(RankRequest(**ask_fields(ask), mode=mode)).response for mode in MODES]

    one, other = ({c.id: c.logits for c in answer.ranked} for answer in answers)
    assert [c.id for c in answers[0].ranked] == [c.id for c in answers[1].ranked]
    for item, logits in one.items():
        for task, logit in logits.items():
            assert logit == pytest.approx(other[item][task], rel=1e-5, abs=1e-5)


MODES = ("amortized", "non_amortized")


def ask_fields(ask: RankRequest) -> dict[str, Any]:
    return {name: getattr(ask, name) for name in ask.__struct_fields__ if name != "mode"}


def test_a_repeated_batch_is_stored_once(live: Live) -> None:
    """The retry gets the first answer, marked as a replay."""
    events = [Event("item-1", "view", 1), Event("item-2", "like", 2)]
    first = live.client.append_events("retrier", events, idempotency_key="batch-1")
    again = live.client.append_events("retrier", events, idempotency_key="batch-1")

    assert (first.appended, first.total, first.replayed) == (2, 2, False)
    assert (again.appended, again.total, again.replayed) == (2, 2, True)
    assert live.client.history("retrier").total == 2


def test_a_key_that_came_with_another_batch_is_refused(live: Live) -> None:
    """A mistake of the caller's, and said so: replaying the other batch's answer would lose this one."""
    live.client.append_events("hasty", [Event("item-1", "view", 1)], idempotency_key="batch-1")
    with pytest.raises(ProblemError) as caught:
        live.client.append_events("hasty", [Event("item-1", "view", 2)], idempotency_key="batch-1")

    assert (caught.value.problem.status, caught.value.problem.code) == (422, "idempotency_conflict")
    assert caught.value.problem.field == "Idempotency-Key"
    assert live.client.history("hasty").total == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "naïve"])
def test_an_odd_idempotency_key_is_refused(live: Live, key: str) -> None:
    """1 to 255 visible ASCII characters; the header is the field."""
    body = json.dumps({"member_id": "m", "events": [{"item_id": "a", "action": "view", "timestamp": 1}]})
    answer = live.http.post("/v1/events", content=body, headers=JSON | {"idempotency-key": key.encode()})  # type: ignore[dict-item]

    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


def test_an_unknown_action_is_refused(live: Live) -> None:
    """The vocabulary is the bundle's, and nothing of the batch is stored."""
    with pytest.raises(ProblemError) as caught:
        live.client.append_events("picky", [Event("item-1", "view", 1), Event("item-1", "dance", 2)])

    assert caught.value.problem.field == "events[1].action"
    with pytest.raises(ProblemError, match="not_found"):
        live.client.history("picky")


@pytest.mark.parametrize("member", ["plain", "a/b/history", "..", ".", "ö ü", "{x}", "a\nb", "%2F", "?#&", "\x00"])
def test_a_member_id_may_hold_anything(live: Live, member: str) -> None:
    """Append, inspect and erase meet the same member, whatever its characters."""
    live.client.append_events(member, [Event("item-1", "view", 5)])

    shown = live.client.history(member)
    assert (shown.member_id, shown.total, shown.actions) == (member, 1, [HistoryAction("item-1", "view", 5)])

    live.client.erase(member)
    with pytest.raises(ProblemError, match="404 not_found"):
        live.client.history(member)


def test_an_erased_member_is_a_cold_start(live: Live) -> None:
    """Erasing also forgets the kept encoding, and doing it again is no error."""
    ask = RankRequest("leaver", "feed", [Candidate("item-1")])
    live.client.append_events("leaver", [Event("item-1", "view", 5)])
    live.client.rank(ask)
    kept = live.metric("ranker_encoded_history_cache_entries")

    live.client.erase("leaver")
    live.client.erase("leaver")

    assert live.metric("ranker_encoded_history_cache_entries") == kept - 1
    assert live.client.rank(ask).response.history.source == "cold_start"


@pytest.mark.parametrize("path", ["/v1/members/%ff/history", "/v1/members/" + "x" * 257 + "/history"])
def test_an_impossible_member_id_is_refused(live: Live, path: str) -> None:
    """Bytes that are no UTF-8 must not become somebody else's id, and length is bounded."""
    answer = live.http.delete(path)

    assert (answer.status_code, answer.json()["field"]) == (422, "member_id")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "not_found"),
        ("GET", "/v1/rank", 405, "method_not_allowed"),
        ("PUT", "/v1/events", 405, "method_not_allowed"),
        ("GET", "/v1/members//history", 404, "not_found"),
    ],
)
def test_the_router_answers_with_problems_too(live: Live, method: str, path: str, status: int, code: str) -> None:
    """No error has another form, and 405 says what would be allowed."""
    answer = live.http.request(method, path)

    assert (answer.status_code, answer.json()["code"], answer.headers["content-type"]) == (status, code, PROBLEM)
    assert status != 405 or answer.headers["allow"] == "POST"


def test_health_and_readiness(live: Live) -> None:
    """Alive always; ready with one line a part."""
    assert live.http.get("/healthz").json() == {"status": "ok", "checks": {}}
    ready = live.client.ready()

    assert ready.status == "ok"
    assert ready.checks["phase"] == "serving"
    assert (ready.checks["model:feed"], ready.checks["model:ads"]) == ("version 1", "version 1")
    assert [value for check, value in ready.checks.items() if check.startswith("store:")] == ["ok"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("*/*", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
def test_metrics_come_in_the_form_asked_for(live: Live, accept: str, content_type: str) -> None:
    """Prometheus text by default, OpenMetrics where it is accepted."""
    answer = live.http.get("/metrics", headers={"accept": accept})

    assert answer.headers["content-type"].startswith(content_type)
    assert "ranker_request_duration_seconds_bucket" in answer.text


def test_a_path_escapes_what_a_url_would_resolve() -> None:
    """`..` reaches the service as two dots, not as the parent folder."""
    assert history_path("../x") == "/v1/members/%2E%2E%2Fx/history"
