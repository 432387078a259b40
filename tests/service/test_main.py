"""The command line, as a user types it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.__main__ import app
from service.settings import Settings
from tests.live import Live, process, serving


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def rank(live: Live, *arguments: object) -> Result:
    return run("rank", "--url", live.url, "--repeat", 1, *arguments)


def test_both_modes_are_shown_side_by_side(live: Live) -> None:
    """Tables, then parity and the ratio as the last two lines."""
    result = rank(live, "--member", "m", "--surface", "feed", "--candidates", "item-1,item-2,nobody")

    assert result.exit_code == 0, result.output
    assert "nobody" in result.output
    parity, ratio = result.output.splitlines()[-2:]
    assert parity.startswith("parity: max |Δlogit| = ")
    assert ratio.startswith("amortized vs non-amortized: ")


def test_ads_take_bids(live: Live) -> None:
    """id=bid; the surface decides what the score is."""
    result = rank(live, "--member", "m", "--surface", "ads", "--candidates", "item-1=0,item-2=2", "--json")

    ranked = json.loads(result.output)["ranked"]["amortized"]
    assert [candidate["id"] for candidate in ranked] == ["item-2", "item-1"]


@pytest.mark.parametrize("mode", ["amortized", "non_amortized"])
def test_one_mode_may_be_asked_alone(live: Live, mode: str) -> None:
    """Then there is no ratio."""
    result = rank(live, "--member", "m", "--surface", "feed", "--candidates", "item-1", "--mode", mode, "--json")

    facts = json.loads(result.output)
    assert (facts["speedup"], facts["parity"]) == (None, None)
    assert all(label.replace("-", "_").startswith(mode) for label in facts["milliseconds"])


def test_a_request_may_come_from_a_file(live: Live, tmp_path: Path) -> None:
    """The line that is asked for, with another member where one is named."""
    file = tmp_path / "requests.jsonl"
    lines = [{"member_id": "a", "surface": "feed", "candidates": [{"id": f"item-{i}"}]} for i in (1, 2)]
    file.write_text("\n".join(map(json.dumps, lines)))

    result = rank(live, "--request", file, "--index", 1, "--member", "b", "--json")

    facts = json.loads(result.output)
    assert [candidate["id"] for candidate in facts["ranked"]["amortized"]] == ["item-2"]


@pytest.mark.parametrize("surface", ["feed", "ads"])
def test_a_member_and_a_surface_are_enough(live: Live, surface: str) -> None:
    """Without candidates some of the service's own items are ranked: the first command a new user types works."""
    result = rank(live, "--member", "m", "--surface", surface, "--json")

    facts = json.loads(result.output)
    assert len(facts["ranked"]["amortized"]) > 1
    assert all(not candidate.get("unknown_item") for candidate in facts["ranked"]["amortized"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--member", "m"], "--member and --surface, or --request"),
        (["--candidates", "a", "--request", "b"], "--candidates id,id,… or --request"),
        (["--candidates", "a"], "--member and --surface, or --request"),
        (["--request", "none.jsonl"], "none.jsonl: No such file"),
        (["--member", "m", "--surface", "feed", "--candidates", "a,a"], "422 invalid_request: candidates[1].id"),
    ],
)
def test_a_mistake_is_explained(live: Live, arguments: list[str], message: str) -> None:
    """One line on stderr, status 1."""
    result = rank(live, *arguments)

    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_a_service_that_is_not_there_is_said() -> None:
    """The URL that was tried is named."""
    result = run("rank", "--url", "http://127.0.0.1:1", "--member", "m", "--surface", "feed", "--candidates", "a")

    assert result.exit_code == 1
    assert "cannot reach http://127.0.0.1:1" in result.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "histories.jsonl"
    event = {"item_id": "item-1", "action": "view", "timestamp": 5}
    path.write_text(json.dumps({"member_id": "m", "events": [event, event]}))
    return path


def test_histories_are_loaded_into_a_given_redis(
    settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says how much it stored."""
    assert settings.redis_url is not None
    monkeypatch.setenv("RANKER_NAMESPACE", settings.namespace)
    url = settings.redis_url.get_secret_value()

    result = run("load-histories", file, "--model-repository", settings.model_repository, "--redis-url", url)

    assert (result.exit_code, result.stdout) == (0, "loaded 1 members with 2 actions\n")


def test_without_redis_loading_says_both_ways(file: Path) -> None:
    """The embedded server lives in the service, so only the service can load into it."""
    result = run("load-histories", file)

    assert result.exit_code == 1
    assert "RANKER_REDIS_URL" in result.stderr
    assert f"serve --histories {file}" in result.stderr


def test_a_bad_line_is_named(settings: Settings, file: Path) -> None:
    """File, line and field."""
    assert settings.redis_url is not None
    file.write_text('{"member_id": "m", "events": [{"item_id": "a", "action": "dance", "timestamp": 1}]}')
    url = settings.redis_url.get_secret_value()

    result = run("load-histories", file, "--model-repository", settings.model_repository, "--redis-url", url)

    assert result.exit_code == 1
    assert "histories.jsonl: line 1: events[0].action" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "error: port: "),
        (["--redis-url", "http://:hunter2@host"], "error: redis_url: "),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(arguments: list[str], message: str) -> None:
    """The value may be a secret."""
    result = run("serve", *arguments)

    assert result.exit_code == 1
    assert message in result.stderr
    assert "hunter2" not in result.stderr


def test_serve_loads_a_file_before_it_is_ready(repository: Path, file: Path) -> None:
    """The whole command in a process of its own: the first request sees the history."""
    with process("serve", "--port", 0, "--model-repository", repository, "--histories", file) as service:
        result = run(
            "rank", "--url", service.url(), "--member", "m", "--surface", "feed", "--candidates", "item-1", "--json"
        )

    assert json.loads(result.output)["history"] == {"length": 2, "source": "store"}
    assert sum("ready at" in line for line in service.log) == 1


def test_a_model_is_listed_loaded_and_rolled_back(
    settings: Settings, repository: Path, export: Callable[[Path, str, int], object], tmp_path: Path
) -> None:
    """One command each: what there is, another version, and back."""
    root = shutil.copytree(repository, tmp_path / "models")
    with serving(settings.model_copy(update={"model_repository": root})) as live:
        export(root / "feed" / "2", "feed", 5)

        assert run("load", "--surface", "feed", "--url", live.url).stdout == "feed version 2 serves\n"
        assert run("rollback", "--surface", "feed", "--url", live.url).stdout == "feed version 1 serves\n"
        assert run("load", "--surface", "feed", "--version", 2, "--url", live.url).exit_code == 0
        listed = run("models", "--url", live.url)
        lines = [line.split() for line in listed.stdout.splitlines()]
        assert ["feed", "2", "READY"] in lines
        assert ["feed", "1", "UNAVAILABLE", "not", "loaded"] in lines

        missing = run("load", "--surface", "feed", "--version", 3, "--url", live.url)
        assert (missing.exit_code, missing.stdout) == (1, "")
        assert "404 not_found" in missing.stderr


def test_a_service_that_cannot_be_asked_is_said() -> None:
    """For the commands about models as well."""
    result = run("models", "--url", "http://127.0.0.1:1")

    assert result.exit_code == 1
    assert "cannot reach http://127.0.0.1:1" in result.stderr
