"""The command: rows are run, shown and judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from loadtests.chaos import __main__ as command
from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage


async def _held(stage: Stage) -> Figures:
    return Figures(sent=3, answered=3, worst_ms=7.0, recovery_s=0.25, facts={"pid": float(stage.service.process.pid)})


async def _broken(stage: Stage) -> Figures:
    return Figures(sent=2, failed=2, broken=["2 were lost"])


async def _raises(stage: Stage) -> Figures:
    raise TimeoutError("it hung")


async def _ends(stage: Stage) -> Figures:
    stage.service.process.kill()
    stage.service.process.wait(30)
    return Figures()


async def _never(stage: Stage) -> Figures:
    raise AssertionError("a slow row runs only when it is named")


ROWS = (
    Row("stuck", "time", _raises),
    Row("fine", "none", _held),
    Row("lossy", "all", _broken),
    Row("apart", "none", _held, alone=True),
    Row("gone", "the service ends", _ends, alone=True),
    Row("long", "none", _never, slow=True),
)


def run(monkeypatch: pytest.MonkeyPatch, repository: Path, *words: str) -> int:
    monkeypatch.setattr(command, "ROWS", ROWS)
    monkeypatch.setattr(sys, "argv", ["chaos", "--quick", "--models", str(repository), *words])
    return command.main()


def test_a_table_a_line_of_json_and_a_status(
    monkeypatch: pytest.MonkeyPatch, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row is tried, one that raises has not held, and the status is 1 unless all held."""
    assert run(monkeypatch, repository) == 1
    lines = capsys.readouterr().out.splitlines()
    facts = json.loads(lines[-1])
    assert {name: row["held"] for name, row in facts["rows"].items()} == {
        "stuck": False,
        "fine": True,
        "lossy": False,
        "apart": True,
        "gone": False,
    }
    assert facts["held"] is False
    pids = [facts["rows"][name]["facts"]["pid"] for name in ("fine", "apart")]
    assert pids[0] != pids[1]
    assert any("lossy broke its promise: 2 were lost" in line for line in lines)
    assert any("gone broke its promise: ServiceFailed" in line for line in lines)
    assert any("stuck broke its promise: TimeoutError: it hung" in line for line in lines)


def test_rows_are_chosen_by_name(
    monkeypatch: pytest.MonkeyPatch, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only those; an unknown name is refused with the names there are."""
    assert run(monkeypatch, repository, "--row", "fine") == 0
    assert list(json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]) == ["fine"]
    with pytest.raises(SystemExit, match="no row odd; there are stuck, fine"):
        run(monkeypatch, repository, "--row", "odd")
