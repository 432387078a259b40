"""The command line, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.sequential.sequences import Sequences


def sequential(*words: object) -> subprocess.CompletedProcess[str]:
    """`python -m model.sequential …` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "COLUMNS": "100"}
    command = [sys.executable, "-m", "model.sequential", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)


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
    assert trained.returncode == 0, trained.stderr
    assert "sampled_softmax" in trained.stdout
    again = sequential(*words)
    assert "going on with" in again.stdout
    assert "epoch 1:" not in again.stdout

    ranked = sequential("evaluate", "--run", run)
    assert ranked.returncode == 0, ranked.stderr
    assert "ndcg@10" in ranked.stdout

    report = sequential("report", tmp_path / "runs")
    assert report.returncode == 0, report.stderr
    assert "amazon-ring" in report.stdout


def test_what_a_user_can_mend_is_told_in_one_line(tmp_path: Path, file: Path) -> None:
    """No trace of Python's stack."""
    for words, message in (
        (("train", "--data", tmp_path / "absent", "--run", tmp_path / "a"), "neither a file of sequences"),
        (("train", "--data", file, "--run", tmp_path / "a", "--encoder", "gru"), "--encoder must be one of"),
        (("evaluate", "--run", tmp_path / "a"), "there is no run"),
        (("report", tmp_path / "a"), "no finished run"),
    ):
        result = sequential(*words)
        assert result.returncode == 1
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
