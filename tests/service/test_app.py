"""The application as a whole: how it starts, refuses to start, fails and recovers."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
import redis

from service.app import create_app
from service.histories import HistoryStore
from service.logs import TextFormatter
from service.redis_histories import RedisHistoryStore
from service.schemas import Candidate, Event, RankRequest
from service.settings import Settings
from tests.live import Live, serving

ASK = RankRequest("m", "feed", [Candidate("item-1"), Candidate("item-2")])


def with_changes(settings: Settings, **changes: object) -> Settings:
    return Settings.model_validate({**settings.model_dump(), **changes})


def damage(live: Live, member: str) -> None:
    """Three stray bytes at the end of the member's log, as a foreign writer would leave them."""
    url = live.settings.redis_url
    assert url is not None
    with redis.Redis.from_url(url.get_secret_value()) as client:
        (key,) = client.keys(f"{live.settings.namespace}:*{{{member}}}")
        client.append(key, b"???")


def test_a_damaged_log_ranks_as_a_cold_start(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Flagged as degraded, counted each time, logged once and without the member's name; erasing it heals."""
    with serving(settings) as live:
        live.client.append_events("victim", [Event("item-1", "view", 1)])
        damage(live, "victim")
        ask = msgspec.structs.replace(ASK, member_id="victim")
        histories = [live.client.rank(ask).response.history for _ in range(3)]

        assert [(h.length, h.source) for h in histories] == [(0, "degraded")] * 3
        assert live.metric("ranker_history_lookups_total", result="damaged") == 3
        degraded = {"surface": "feed", "mode": "amortized", "outcome": "degraded"}
        assert live.metric("ranker_request_duration_seconds_count", **degraded) == 3
        complaints = [record for record in caplog.records if "hashed" in record.message]
        assert len(complaints) == 1
        assert "victim" not in caplog.text

        live.client.erase("victim")
        assert live.client.rank(ask).response.history.source == "cold_start"


def test_a_damaged_log_may_be_refused_instead(settings: Settings) -> None:
    """By one setting the answer is 503 with its own code, for ranking; inspection says the same."""
    with serving(with_changes(settings, on_history_failure="unavailable")) as live:
        live.client.append_events("m", [Event("item-1", "view", 1)])
        damage(live, "m")
        answers = [
            live.http.post("/v1/rank", content=msgspec.json.encode(ASK), headers={"content-type": "application/json"}),
            live.http.get("/v1/members/m/history"),
            live.http.post(
                "/v1/events",
                json={"member_id": "m", "events": [{"item_id": "item-1", "action": "view", "timestamp": 1}]},
            ),
        ]

        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, "history_damaged")
            assert answer.headers["retry-after"] == "1"
        assert live.metric("ranker_history_lookups_total", result="damaged") == 1


def nowhere() -> str:
    """The URL of a Redis that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{probe.getsockname()[1]}"


def test_without_its_store_the_service_ranks_on_but_is_not_ready(settings: Settings) -> None:
    """Ranking is degraded, events are refused as retryable, readiness says why."""
    with serving(with_changes(settings, redis_url=nowhere())) as live:
        ranked = live.client.rank(ASK).response
        events = live.http.post(
            "/v1/events", json={"member_id": "m", "events": [{"item_id": "item-1", "action": "view", "timestamp": 1}]}
        )
        ready = live.http.get("/readyz")

        assert ranked.history.source == "degraded"
        assert (events.status_code, events.json()["code"]) == (503, "store_unavailable")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert "the history store cannot be reached" in ready.json()["checks"].values()
        assert live.http.get("/healthz").status_code == 200


def test_a_flood_is_shed_at_once(settings: Settings) -> None:
    """Without a permit the answer is 429 with Retry-After, and it is counted."""
    with serving(with_changes(settings, non_amortized_permits=1, non_amortized_chunk=1)) as live:
        ask = RankRequest("m", "feed", [Candidate(f"i{i}") for i in range(1000)], mode="non_amortized")
        body = msgspec.json.encode(ask)

        answers = flood(live.url, body, 8)

        assert {answer.status_code for answer in answers} == {200, 429}
        shed = [answer for answer in answers if answer.status_code == 429]
        assert all(int(answer.headers["retry-after"]) >= 1 and answer.json()["code"] == "overloaded" for answer in shed)
        assert live.metric("ranker_shed_total", reason="permits") == len(shed)


def flood(url: str, body: bytes, count: int) -> list[httpx.Response]:
    """The same request, `count` times at once."""
    from concurrent.futures import ThreadPoolExecutor

    def send(_: int) -> httpx.Response:
        return httpx.post(f"{url}/v1/rank", content=body, headers={"content-type": "application/json"}, timeout=60.0)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


def test_a_deadline_that_passes_is_504(settings: Settings) -> None:
    """The request is cut off, told so, and counted."""
    with serving(with_changes(settings, non_amortized_deadline_ms=1.0, non_amortized_chunk=1)) as live:
        ask = RankRequest("m", "feed", [Candidate(f"i{i}") for i in range(1000)], mode="non_amortized")
        answer = live.http.post(
            "/v1/rank", content=msgspec.json.encode(ask), headers={"content-type": "application/json"}
        )

        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        assert live.metric("ranker_shed_total", reason="deadline") == 1


def test_an_unexpected_error_tells_the_caller_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug is a 500 `internal` without its text; the log has it under the request id, and the service lives on."""

    async def broken(*_: object) -> HistoryStore:
        raise RuntimeError("the secret of member m")

    monkeypatch.setattr(RedisHistoryStore, "log", broken)
    caplog.handler.setFormatter(TextFormatter())
    with serving(settings) as live:
        answer = live.http.get("/v1/members/m/history", headers={"x-request-id": "bug-1"})

        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "secret" not in answer.text
        assert live.http.get("/healthz").status_code == 200
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "request_id=bug-1" in caplog.text
    assert record.exc_info


def test_a_surface_without_a_bundle_is_unavailable(settings: Settings, repository: Path, tmp_path: Path) -> None:
    """The service serves what it has; the rest is 503 `model_unavailable`."""
    shutil.copytree(repository / "feed", tmp_path / "feed")
    with serving(with_changes(settings, model_repository=tmp_path)) as live:
        answer = live.http.post(
            "/v1/rank", json={"member_id": "m", "surface": "ads", "candidates": [{"id": "a", "bid": 1}]}
        )

        assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
        assert live.client.ready().status == "ok"
        assert live.client.ready().checks["model:ads"] == "none"


async def start(settings: Settings) -> dict[str, str]:
    """The message by which the lifespan protocol tells how the start went."""
    sent: list[dict[str, str]] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, str]) -> None:
        sent.append(message)

    app: Callable[..., object] = create_app(settings)
    with pytest.raises(Exception, match="cannot start"):
        await app({"type": "lifespan", "asgi": {}, "state": {}}, receive, send)  # type: ignore[misc]
    (message,) = sent
    return message


@pytest.mark.parametrize("name", ["ranker.pt", "items.safetensors", "golden.json", "manifest.json"])
async def test_a_damaged_bundle_is_refused_by_name(
    settings: Settings, repository: Path, tmp_path: Path, name: str
) -> None:
    """One line, no stack: the file's whole path, and that it differs."""
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "ads" / "1" / name
    file.write_bytes(file.read_bytes()[:-1])

    message = await start(with_changes(settings, model_repository=tmp_path))

    assert message["type"] == "lifespan.startup.failed"
    assert message["message"].startswith(f"cannot start: {file}: ")
    assert "Traceback" not in message["message"]


async def test_an_empty_repository_is_refused(settings: Settings, tmp_path: Path) -> None:
    """A service that could rank nothing does not start, and says where it looked."""
    message = await start(with_changes(settings, model_repository=tmp_path))

    assert message["message"].startswith(f"cannot start: {tmp_path}: holds no bundle")
