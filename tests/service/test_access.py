"""Access: a running service with keys, asked with, without and with the wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service import access
from service.app import create_app
from service.client import ProblemError, RankClient
from service.keys import create_key
from service.openinference import admin, metadata
from service.routes import router
from service.settings import Settings
from tests.live import Live, process, serving
from tests.service.test_routes import request

SCOPES = ("rank", "events", "admin")
EVENTS = {"member_id": "m", "events": [{"item_id": "item-1", "action": "view", "timestamp": 1}]}
ASKED = {
    "rank": ("POST", "/v1/rank", request()),
    "events": ("POST", "/v1/events", EVENTS),
    "admin": ("GET", "/v1/members/m/history", None),
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A key for each scope, and one that is used up soon; "file" is where their hashes are."""
    file = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    made = {scope: create_key(file, scope, [scope]) for scope in SCOPES}
    return {"file": str(file), **made, "slow": create_key(file, "slow", ["rank"], rate_per_second=0.001)}


@pytest.fixture(scope="module")
def guarded(repository: Path, redis_url: str, keys: dict[str, str]) -> Iterator[Live]:
    """A service that asks for keys."""
    settings = Settings(
        model_repository=repository,
        redis_url=redis_url,
        namespace="guarded",
        inference_threads=2,
        api_keys_file=Path(keys["file"]),
    )
    with serving(settings) as running:
        yield running


def ask(live: Live, scope: str, **headers: str) -> httpx.Response:
    method, path, body = ASKED[scope]
    return live.http.request(method, path, json=body, headers=headers)


@pytest.mark.parametrize("asked", SCOPES)
def test_each_scope_opens_its_own_paths(guarded: Live, keys: dict[str, str], asked: str) -> None:
    """200 with the scope, 403 with another, 401 without a key; each refusal is a problem."""
    for held in SCOPES:
        answer = ask(guarded, asked, authorization=f"Bearer {keys[held]}")
        assert answer.status_code == (200 if held == asked else 403), answer.text
        if held != asked:
            assert answer.json()["code"] == "forbidden"
            assert answer.headers["x-request-id"] == answer.json()["request_id"]

    answer = ask(guarded, asked)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_other_header_will_do(guarded: Live, keys: dict[str, str]) -> None:
    """Some gateways pass no Authorization on."""
    assert ask(guarded, "rank", **{"x-api-key": keys["rank"]}).status_code == 200


@pytest.mark.parametrize("value", ["", "Bearer", "Basic {}", "{}", "Bearer {}x", "Bearer rk_", "bearer{}"])
def test_what_is_no_key_is_refused(guarded: Live, keys: dict[str, str], value: str) -> None:
    """Another scheme, half a key, a key and a half."""
    assert ask(guarded, "rank", authorization=value.format(keys["rank"])).status_code == 401


def test_two_keys_are_none(guarded: Live, keys: dict[str, str]) -> None:
    """A proxy in front and the service behind it must not each take another for the caller's."""
    answer = ask(guarded, "rank", **{"x-api-key": keys["rank"], "authorization": f"Bearer {keys['admin']}"})

    assert answer.status_code == 401


def test_a_used_up_rate_is_429(guarded: Live, keys: dict[str, str]) -> None:
    """With the time to wait, and only for that key."""
    assert ask(guarded, "rank", authorization=f"Bearer {keys['slow']}").status_code == 200
    answer = ask(guarded, "rank", authorization=f"Bearer {keys['slow']}")

    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) > 900
    assert ask(guarded, "rank", authorization=f"Bearer {keys['rank']}").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/dashboard"])
def test_probes_scrapers_and_pages_need_no_key(guarded: Live, path: str) -> None:
    """They tell nothing of a member."""
    assert guarded.http.get(path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/dashboard/playground",
            "/nothing",
            "/v1/rank/",
            "//v1/rank",
            "/V1/rank",
            "/v2/repository/index",
            "/metrics/",
        ),
        *("/docs/assets", "/docs/../v1/members/m/history", "/dashboard/assets/../../v1/members/m/history"),
    ],
)
def test_everything_else_is_closed(guarded: Live, path: str) -> None:
    """A path that is not opened by name needs admin, however it is spelt."""
    host, port = guarded.url.removeprefix("http://").split(":")
    with httpx.Client(transport=httpx.HTTPTransport()) as plain:  # does not resolve dots
        answer = plain.get(httpx.URL(scheme="http", host=host, port=int(port), raw_path=path.encode()))

    assert answer.status_code in (401, 404)
    assert answer.status_code == 401 or path.startswith(access.OPEN_FOLDERS)


def test_every_route_has_its_scope() -> None:
    """The table knows each route of the application: a new one shows up here before it is opened by mistake."""
    routes = [*create_app(Settings()).routes, *router.routes, *metadata.routes, *admin.routes]
    found = {getattr(route, "path", "") for route in routes}
    closed = {path for path in found if access.needed(path) == "admin"}

    assert found >= access.OPEN
    assert access.NEEDED.keys() <= found
    assert {"/v1/members/{member_id:anything}/history", "/dashboard/playground"} <= closed
    assert {path for path in found if path.startswith("/v2/repository")} <= closed


def test_the_client_sends_its_key(guarded: Live, keys: dict[str, str]) -> None:
    """With each call; a refusal is its ProblemError."""
    with RankClient(guarded.url, api_key=keys["admin"]) as client:
        assert client.history("m").member_id == "m"
    with RankClient(guarded.url) as client, pytest.raises(ProblemError) as caught:
        client.history("m")
    assert caught.value.problem.code == "unauthorized"


def test_the_command_line_creates_and_sends_keys(guarded: Live, keys: dict[str, str], tmp_path: Path) -> None:
    """`create-key` prints the key alone; `rank` takes one from its option or the environment."""
    from typer.testing import CliRunner

    from service.__main__ import app

    run = CliRunner().invoke
    file = tmp_path / "keys.jsonl"
    made = run(app, ["create-key", "--name", "x", "--scopes", "rank,events", "--file", str(file), "--rate", "5"])
    assert made.exit_code == 0
    assert made.stdout.strip().startswith("rk_")
    assert made.stdout.strip() not in file.read_text()
    assert run(app, ["create-key", "--name", "x", "--scopes", "rank", "--file", str(file)]).exit_code == 1
    assert run(app, ["create-key", "--name", "y", "--scopes", "rank"]).exit_code == 1

    words = ["rank", "--member", "m", "--surface", "feed", "--candidates", "item-1", "--url", guarded.url, "--json"]
    assert run(app, words).exit_code == 1
    assert run(app, [*words, "--api-key", keys["rank"]]).exit_code == 0
    assert run(app, words, env={"RANKER_API_KEY": keys["rank"]}).exit_code == 0


def test_a_service_without_its_keys_does_not_start(repository: Path, tmp_path: Path) -> None:
    """A missing file is no reason to let everybody in."""
    with process(
        *("serve", "--port", 0, "--model-repository", repository), RANKER_API_KEYS_FILE=str(tmp_path / "none")
    ) as service:
        assert service.popen.wait(30) == 1

    assert "cannot start" in "".join(service.log)
    assert "Traceback" not in "".join(service.log)
