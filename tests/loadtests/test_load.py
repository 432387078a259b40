"""`python -m loadtests.load`: the run, and the verdict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from loadtests.load import Costs, Summary, report
from loadtests.profiles import PROFILES, StageCounts

NO_LATENCY = dict.fromkeys(("answered", "p50", "p90", "p95", "p99", "p99.9", "max"))


def verdict(
    capsys: pytest.CaptureFixture[str], folder: Path, answered: int, wrong: int, busy: float
) -> tuple[int, dict]:
    """(exit status, JSON line) of a smoke run with 200 requests offered."""
    stage = StageCounts(10.0, 200, answered, 0, 0, wrong)
    summary = Summary([stage], [NO_LATENCY], {"feed amortized": NO_LATENCY}, busy, ["a fault"] if wrong else [])
    status = report(PROFILES["smoke"], summary, Costs(1.0, 100.0, 101.0), 0.05, folder)
    return status, msgspec.json.decode(capsys.readouterr().out.splitlines()[-1])


def test_a_run_that_kept_up_passes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit status 0, and the rates in the last line."""
    status, facts = verdict(capsys, tmp_path, answered=200, wrong=0, busy=0.1)

    assert (status, facts["held"], facts["refused"]) == (0, True, [])
    assert (facts["offered_rps"], facts["achieved_rps"]) == (20.0, 20.0)
    assert facts["service_cpu_seconds_per_1000"] == 5.0


@pytest.mark.parametrize(
    ("answered", "wrong", "busy", "reason"),
    [(150, 0, 0.1, "75.0%"), (199, 1, 0.1, "1 wrong"), (200, 0, 0.95, "bottleneck")],
)
def test_a_run_that_cannot_be_trusted_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, answered: int, wrong: int, busy: float, reason: str
) -> None:
    """Too little achieved, a wrong answer, or a generator at its limit: exit status 1, and the reason."""
    status, facts = verdict(capsys, tmp_path, answered, wrong, busy)

    assert (status, facts["held"]) == (1, False)
    assert reason in facts["refused"][0]


@pytest.mark.slow
def test_a_short_smoke_run_against_a_real_service(repository: Path, tmp_path: Path) -> None:
    """From the command line: it holds, both surfaces and modes were asked, HTML and CSV are there."""
    command = [sys.executable, "-m", "loadtests.load", "--profile", "smoke", "--time-scale", "0.4"]
    command += ["--models", str(repository), "--out", str(tmp_path), "--non-amortized-share", "0.3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    facts = msgspec.json.decode(done.stdout.splitlines()[-1])
    assert facts["held"]
    assert facts["wrong"] == facts["shed"] == facts["degraded"] == 0
    assert set(facts["latency_ms"]) == {f"{s} {m}" for s in ("feed", "ads") for m in ("amortized", "non_amortized")}
    assert Path(facts["html"]).read_text().lower().startswith("<!doctype html>")
    assert (tmp_path / "smoke" / "stats_stats.csv").is_file()
