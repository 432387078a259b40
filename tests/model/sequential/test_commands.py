"""The command line, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from model.sequential.commands import app
from model.sequential.sequences import Sequences


def sequential(*words: object) -> Result:
    """`python -m model.sequential …`, in this process: each of its own would take seconds to import torch."""
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, list(map(str, words)))


@pytest.fixture
def file(tmp_path: Path, sequences: Sequences) -> Path:
    """The ring as a file of sequences."""
    path = tmp_path / "Ring.txt"
    bounds = zip(sequences.offsets, sequences.offsets[1:], strict=False)
    path.write_text(
        "\n".join(f"m{member} {' '.join(map(str, sequences.items[a:b]))}" for member, (a, b) in enumerate(bounds))
    )
    return path


def test_train_evaluate_and_report(tmp_path: Path, file: Path) -> None:
    """A run is trained, found finished when asked again, ranked anew and put into the table."""
    run = tmp_path / "runs" / "hstu-0"
    words = ("train", "--data", file, "--encoder", "hstu", "--run", run, "--epochs", 2, "--dim", 8)
    trained = sequential(*words)
    assert trained.exit_code == 0, trained.output
    assert "sampled_softmax" in trained.stdout
    again = sequential(*words)
    assert "going on with" in again.stdout
    assert "epoch 1:" not in again.stdout

    ranked = sequential("evaluate", "--run", run)
    assert ranked.exit_code == 0, ranked.output
    assert "ndcg@10" in ranked.stdout

    report = sequential("report", tmp_path / "runs")
    assert report.exit_code == 0, report.output
    assert "amazon-ring" in report.stdout


def test_what_a_user_can_mend_is_told_in_one_line(tmp_path: Path, file: Path) -> None:
    """No trace of Python's stack."""
    for words, message in (
        (("train", "--data", tmp_path / "absent", "--run", tmp_path / "a"), "neither a file of sequences"),
        (("train", "--data", file, "--run", tmp_path / "a", "--encoder", "gru"), "--encoder must be one of"),
        (("train", "--data", file, "--run", tmp_path / "a", "--protocol", "k-fold"), "--protocol must be one of"),
        (("evaluate", "--run", tmp_path / "a"), "there is no run"),
        (("report", tmp_path / "a"), "no finished run"),
    ):
        result = sequential(*words)
        assert result.exit_code == 1
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_it_is_a_module_to_run(tmp_path: Path) -> None:
    """With the same status and the same words."""
    command = [sys.executable, "-m", "model.sequential", "report", str(tmp_path / "a")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    assert (result.returncode, result.stdout) == (1, "")
    assert "no finished run" in result.stderr
