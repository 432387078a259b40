"""Secrets: planted ones are looked for in everything that a running service says."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtests.faults.redis_server import RedisServer
from service.keys import create_key
from tests.live import process
from tests.service.test_routes import request

PASSWORD, WRONG_PASSWORD = "planted-password", "planted-wrong-password"
UNKNOWN_KEY, TOKEN = "rk_planted-unknown-key", "planted-token"
MEMBER = "planted-member"
PATHS = (
    *("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/dashboard", "/dashboard/data"),
    *("/dashboard/playground", f"/v1/members/{MEMBER}/history", "/v2", "/nothing"),
)
EVENTS = {"member_id": MEMBER, "events": [{"item_id": "item-1", "action": "view", "timestamp": 1}]}


@pytest.fixture
def refusing_collector() -> Iterator[tuple[str, list[bytes]]]:
    """A trace collector that keeps what it gets and refuses it, so that the exporter has something to log."""
    received: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(400)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("password", [PASSWORD, WRONG_PASSWORD, "no server"])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_nothing_that_is_said_holds_a_secret(
    repository: Path, tmp_path: Path, refusing_collector: tuple[str, list[bytes]], password: str, level: str
) -> None:
    """Logs at any level, answers, errors, metrics, pages and traces, with Redis's password right, wrong and unused; and
    no member's id above DEBUG."""
    endpoint, received = refusing_collector
    keys = tmp_path / "keys.jsonl"
    created = [create_key(keys, name, [name]) for name in ("rank", "events", "admin")]
    said: list[str] = []
    with RedisServer() as redis:
        port = redis.port
        redis.configure("requirepass", PASSWORD)
        if password == "no server":
            redis.kill()
        url = tmp_path / "url"
        url.write_text(f"redis://:{password}@127.0.0.1:{port}/0")
        with process(
            *("serve", "--port", 0, "--model-repository", repository),
            RANKER_REDIS_URL_FILE=str(url),
            RANKER_API_KEYS_FILE=str(keys),
            RANKER_LOG_LEVEL=level,
            RANKER_PLAYGROUND="true",
            RANKER_TRACING_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{TOKEN}",
        ) as service:
            with httpx.Client(base_url=service.url(), timeout=30) as client:
                for key in (*created, UNKNOWN_KEY):
                    sent = {"authorization": f"Bearer {key}"}
                    for path in PATHS:
                        said.append(_said(client.get(path, headers=sent), path))
                    for path, body in (("/v1/rank", {**request(), "member_id": MEMBER}), ("/v1/events", EVENTS)):
                        said.append(_said(client.post(path, json=body, headers=sent), path))
                        said.append(_said(client.post(path, content=key, headers=sent), path))
            service.popen.terminate()
            assert service.popen.wait(60) == 0
    log = "".join(service.log)

    assert len(received) > 0
    for text in ("\n".join(said), log, b"".join(received).decode("latin-1")):
        for secret in (PASSWORD, WRONG_PASSWORD, TOKEN, UNKNOWN_KEY, *created, *(key[3:] for key in created)):
            assert secret not in text
    if level == "info":
        assert MEMBER not in log
    assert MEMBER not in b"".join(received).decode("latin-1")


def _said(answer: httpx.Response, path: str) -> str:
    """Head and body of an answer. A body that was no JSON may be named by its first byte, never repeated."""
    return f"{path} {answer.status_code} {answer.headers} {answer.text}"


@pytest.mark.parametrize(
    "variables",
    [
        {"RANKER_REDIS_URL": f"http://:{PASSWORD}@host"},
        {"RANKER_REDIS_URL": f"redis://:{PASSWORD}@host:port-that-is-none/0"},
        {"RANKER_REDIS_URL": f"redis://:{PASSWORD}@host", "RANKER_REDIS_URL_FILE": "/nothing"},
        {"RANKER_REDIS_URL": f"redis://:{PASSWORD}@host", "RANKER_MAX_CONNECTIONS": "no"},
        {"RANKER_TRACING_ENDPOINT": f"http://user:{PASSWORD}@host"},
    ],
)
def test_a_setting_that_is_refused_is_not_repeated(repository: Path, variables: dict[str, str]) -> None:
    """The message names the setting, not its value."""
    with process("serve", "--port", 0, "--model-repository", repository, **variables) as service:
        assert service.popen.wait(60) == 1

    told = "".join(service.log)
    assert PASSWORD not in told
    assert told.strip()
