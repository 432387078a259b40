"""The locust users, run by locust itself: importing it here would patch this process's sockets."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtests.catalog import Catalog
from loadtests.workload import Plan, Workload
from tests.loadtests.conftest import Answering, Respond, rightly

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"


@pytest.fixture(scope="module")
def respond(catalog: Catalog) -> Respond:
    """The right answer to whatever the users of seed 3 send, without data to replay."""
    workload = Workload(catalog, Plan(seed=3))
    return rightly([c for s in ("feed", "ads") for m in ("amortized", "non_amortized") for c in workload.calls(s, m)])


def locust(url: str, repository: Path, folder: Path, *more: str) -> tuple[str, Any]:
    """A tenth of a smoke run; (what it said, its summary)."""
    command = [sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--headless", "--only-summary", "--host", url]
    command += ["--load-profile", "smoke", "--time-scale", "0.2", "--models", repository, "--seed", "3"]
    command += [
        "--non-amortized-share",
        "0.3",
        "--summary",
        folder / "summary.json",
        "--exit-code-on-error",
        "0",
        *more,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    path = folder / "summary.json"
    return done.stdout + done.stderr, msgspec.json.decode(path.read_bytes()) if path.exists() else None


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANKONCE_DATA", raising=False)


def test_wrong_answers_are_counted_although_their_status_is_200(
    respond: Respond, repository: Path, tmp_path: Path, answering: Answering
) -> None:
    """Both users ask in both modes; every ads answer says a wrong mode, every feed answer is right."""

    def planted(body: bytes) -> tuple[int, bytes]:
        status, answer = respond(body)
        if b'"surface":"ads"' in body:
            answer = (
                answer.replace(b'"mode":"', b'"mode":"non_amortized","was":"', 1) if b'"amortized"' in answer else b"{}"
            )
        return status, answer

    with answering(planted) as url:
        said, summary = locust(url, repository, tmp_path)

    assert summary is not None, said
    ((_, offered, answered, shed, degraded, wrong),) = summary["stages"]
    assert answered + wrong == offered > 0
    assert min(answered, wrong) > 0
    assert shed == degraded == 0
    assert set(summary["latency_ms"]) == {"feed amortized", "feed non_amortized"}
    assert all(fault.startswith("ads ") for fault in summary["faults"])
    assert any("asked for amortized" in fault for fault in summary["faults"])


def test_a_slow_service_falls_short_of_what_was_offered(
    respond: Respond, repository: Path, tmp_path: Path, answering: Answering
) -> None:
    """A server that takes a quarter of a second for each request, one by one, cannot answer twenty a second."""

    def slow(body: bytes) -> tuple[int, bytes]:
        time.sleep(0.25)
        return respond(body)

    with answering(slow) as url:
        said, summary = locust(url, repository, tmp_path)

    assert summary is not None, said
    ((_, offered, answered, *_),) = summary["stages"]
    assert 0 < answered < 0.8 * offered


def test_load_is_sent_nowhere_else(repository: Path, tmp_path: Path) -> None:
    """Another host is refused before the first request."""
    said, _ = locust("http://192.0.2.1:8000", repository, tmp_path)

    assert "load tests only go to" in said
    assert not (tmp_path / "summary.json").exists()
