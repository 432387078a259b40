"""Logs: every line has its ids, JSON is JSON, and no member or secret is in any of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from service import context
from service.context import TraceContext
from service.embedded_redis import EmbeddedRedis
from service.logs import JsonFormatter, TextFormatter
from tests.live import process

PLACE = TraceContext("a" * 32, "b" * 16, sampled=True)
JSON = {"content-type": "application/json"}


@pytest.fixture
def request_at_hand() -> Iterator[None]:
    """As inside of a request that is traced."""
    tokens = context.request_id.set("r-1"), context.trace.set(PLACE)
    yield
    context.request_id.reset(tokens[0])
    context.trace.reset(tokens[1])


def record(message: str = "hello %s", *args: object, error: Exception | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("service.x", logging.WARNING, __file__, 1, message, args or ("you",), info)


@pytest.mark.usefixtures("request_at_hand")
def test_a_line_names_its_request_and_trace() -> None:
    """In both formats."""
    line = json.loads(JsonFormatter().format(record()))

    assert line | {"time": ""} == {
        "time": "",
        "level": "warning",
        "logger": "service.x",
        "message": "hello you",
        "request_id": "r-1",
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
    }
    assert (
        TextFormatter()
        .format(record())
        .endswith(f"WARNING service.x hello you request_id=r-1 trace_id={'a' * 32} span_id={'b' * 16}")
    )


def test_a_line_outside_of_requests_has_no_ids() -> None:
    """Start and stop belong to no request."""
    assert set(json.loads(JsonFormatter().format(record()))) == {"time", "level", "logger", "message"}
    assert TextFormatter().format(record()).endswith("hello you")


def test_json_is_one_line_whatever_is_logged() -> None:
    """Line breaks and stacks are inside of the object."""
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        text = JsonFormatter().format(record("a\nb%s", "", error=error))

    line = json.loads(text)
    assert "\n" not in text
    assert line["message"] == "a\nb"
    assert (line["error"]["type"], line["error"]["message"]) == ("ValueError", "two\nlines")
    assert "raise ValueError" in line["error"]["stack"]


def ask(url: str, members: list[str]) -> None:
    """Everything that a caller can do with a member, right and wrong."""
    with httpx.Client(base_url=url, headers=JSON) as http:
        for number, member in enumerate(members):
            event = {"item_id": "item-1", "action": "view", "timestamp": 1}
            http.post("/v1/events", json={"member_id": member, "events": [event]})
            http.post("/v1/events", json={"member_id": member, "events": [event | {"action": "no-such"}]})
            for mode in ("amortized", "non_amortized", "no-such"):
                ask = {"member_id": member, "surface": "feed", "candidates": [{"id": "item-1"}], "mode": mode}
                http.post("/v1/rank", json=ask, headers={"x-rankonce-shadow": "1", "x-request-id": f"r-{number}"})
                http.post("/v1/rank", json=ask | {"surface": "ads"})
            http.get(f"/v1/members/{member}/history")
            http.get(f"/v1/members/{member}/no-such")
            http.delete(f"/v1/members/{member}/history")
            http.get(f"/v1/members/{member}/history")


def damage(url: str, member: str) -> None:
    """Give a member a log that is none."""
    with redis.Redis.from_url(url) as client:
        key = b"rankonce:" + client.keys("rankonce:*")[0].split(b":")[1] + b":{" + member.encode() + b"}"
        client.set(key, b"foreign bytes")


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_busy_service_logs_no_member(repository: Path, form: str) -> None:
    """At INFO, through rankings, events, erasures, errors, a damaged log and a store that goes away."""
    members = [f"zebra-{number:03}" for number in range(20)]
    with EmbeddedRedis() as server:
        settings = {
            "RANKER_LOG_FORMAT": form,
            "RANKER_REDIS_URL": server.url,
            "RANKER_SHADOW_FRACTION": "1",
            "RANKER_INFERENCE_THREADS": "2",
        }
        with process("serve", "--port", "0", "--model-repository", repository, **settings) as started:
            url = started.url()
            httpx.post(
                f"{url}/v1/events",
                json={"member_id": "first", "events": [{"item_id": "a", "action": "view", "timestamp": 1}]},
            )
            damage(server.url, members[0])
            ask(url, members)
            with redis.Redis.from_url(server.url) as client:
                client.shutdown(nosave=True)
            ask(url, members[:3])
    text = "".join(started.log)

    assert "ready at" in text
    assert "holds foreign" in text or "hashed" in text
    assert "the history store is failing" in text
    assert "zebra" not in text
    if form == "json":
        assert all({"time", "level", "logger", "message"} <= set(json.loads(line)) for line in started.log)


def test_no_secret_is_logged_at_any_level(repository: Path) -> None:
    """Not even at DEBUG, with a Redis that refuses the password and a collector that is not there."""
    with EmbeddedRedis() as server:
        settings = {
            "RANKER_LOG_LEVEL": "debug",
            "RANKER_REDIS_URL": server.url.replace("unix://", "unix://user:hunter2@"),
            "RANKER_TRACING_ENDPOINT": "http://127.0.0.1:9/v1/traces",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2",
            "RANKER_INFERENCE_THREADS": "2",
        }
        with process("serve", "--port", "0", "--model-repository", repository, **settings) as started:
            ask(started.url(), ["m"])
            started.popen.terminate()
            started.popen.wait(60)
    text = "".join(started.log)

    assert "the history store is failing" in text
    assert "hunter2" not in text


def test_a_request_that_fails_is_found_by_its_id(repository: Path) -> None:
    """The id of the answer is in the line of the log, and in nobody else's."""
    with process(
        "serve",
        "--port",
        "0",
        "--model-repository",
        repository,
        RANKER_LOG_FORMAT="json",
        RANKER_LOG_LEVEL="debug",
        RANKER_INFERENCE_THREADS="2",
    ) as started:
        url = started.url()
        answers = [httpx.post(f"{url}/v1/rank", json={}, headers={"x-request-id": f"bad-{i}"}) for i in range(3)]
    lines = [json.loads(line) for line in started.log]
    about = [line.get("request_id") for line in lines if line["message"].startswith("invalid_request")]

    assert [answer.json()["request_id"] for answer in answers] == ["bad-0", "bad-1", "bad-2"]
    assert about == ["bad-0", "bad-1", "bad-2"]
