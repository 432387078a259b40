"""The command line, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from model.bundle import read_items, read_manifest, verify
from model.commands import app
from service.schemas import RankRequest

QUICK = ("--epochs", "1", "--embedding-dim", "8", "--ffn-dim", "16", "--max-history", "8", "--slack", "4")


def model(*words: object) -> Result:
    """`python -m model …`, in this process: each of its own would take seconds to import torch."""
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, list(map(str, words)))


@pytest.fixture
def movielens(tmp_path: Path) -> Path:
    """A folder in MovieLens' format, small enough to train on in seconds."""
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "u.item").write_text("".join(f"{film}|Film|01-Jan-1990||x|0\n" for film in range(1, 31)))
    lines = [
        "\t".join(
            map(
                str,
                (
                    member,
                    1 + (7 * member + 3 * at) % 30,
                    1 + (member + at) % 5,
                    880_000_000 + 50_000 * member + at * 200,
                ),
            )
        )
        for member in range(20)
        for at in range(10)
    ]
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    return folder


def test_train_evaluate_and_export_make_two_bundles_that_share_their_items(tmp_path: Path, movielens: Path) -> None:
    """The whole path: both surfaces trained, compared and exported, with histories and sample requests."""
    feed, ads, hstu, repository = tmp_path / "feed", tmp_path / "ads", tmp_path / "hstu", tmp_path / "models"
    common, stochastic = ("--data", movielens, *QUICK), ("--encoder", "hstu", "--stochastic-length", "1.5")
    for command in (
        ("train", "--surface", "feed", "--run", feed, *common),
        ("train", "--surface", "ads", "--run", ads, "--items-from", feed, *common),
        ("train", "--surface", "feed", "--run", hstu, "--items-from", feed, *stochastic, *common),
        ("evaluate", "--run", hstu, "--baselines", "popularity,mean_pool"),
        ("evaluate", "--run", feed, "--seeds", 2, "--baselines", "popularity,mean_pool"),
        ("export", "--run", feed, "--repository", repository, "--histories", tmp_path / "histories.jsonl"),
        ("export", "--run", feed, "--repository", repository, "--precision", "bf16"),
        ("export", "--run", hstu, "--repository", repository),
        ("export", "--run", ads, "--repository", repository, "--requests", tmp_path / "ads.jsonl", "--candidates", 20),
    ):
        result = model(*command)
        assert result.exit_code == 0, result.output
        if "--seeds" in command:
            assert "paired over 2 seeds, 95 % t-interval" in result.stdout
        if "bf16" in command:
            assert "love: test AUC" in result.stdout
        if "ads" in command:
            assert "calibration" in result.stdout
    manifests = [read_manifest(repository / name) for name in ("feed/1", "feed/2", "ads/1", "feed/3")]
    for manifest in manifests:
        directory = repository / manifest.name / manifest.version
        verify(directory, manifest)
        assert len(read_items(directory, manifest).ids) == 31
    assert len({manifest.embedding_version for manifest in manifests}) == 1
    assert [task.name for task in manifests[0].tasks] == ["like", "love"]
    assert [task.name for task in manifests[2].tasks] == ["click"]
    assert [manifest.precision for manifest in manifests] == ["fp32", "bf16", "fp32", "fp32"]
    assert [manifest.extendable for manifest in manifests] == [False, False, False, True]
    assert "click_auc" in manifests[2].training
    assert json.loads((hstu / "settings.json").read_text())["stochastic_length"] == 1.5
    assert json.loads((feed / "evaluation.json").read_text())["seeds"] == [0, 1]
    assert len((tmp_path / "histories.jsonl").read_text().splitlines()) > 0
    requests = (tmp_path / "ads.jsonl").read_bytes().splitlines()
    assert msgspec.json.decode(requests[0], type=RankRequest).surface == "ads"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--data", "nowhere", "--surface", "feed", "--run", "run"), "does not exist"),
        (("train", "--data", "synthetic", "--surface", "search", "--run", "run"), "--surface must be one of"),
        (("train", "--data", "synthetic", "--surface", "feed", "--run", "run", "--heads", "3"), "heads"),
        (
            ("train", "--data", "synthetic", "--surface", "feed", "--run", "run", "--encoder", "gru"),
            "--encoder must be one of",
        ),
        (
            ("train", "--data", "synthetic", "--surface", "feed", "--run", "run", "--stochastic-length", "1"),
            "stochastic_length must be above 1 and at most 2, got 1.0",
        ),
        (("evaluate", "--run", "run"), "there is no run"),
        (("export", "--run", "run", "--repository", "models"), "there is no run"),
        (("export", "--run", "run", "--repository", "models", "--precision", "int8"), "--precision must be one of"),
    ],
)
def test_what_a_user_can_mend_is_told_in_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    """Exit status 1, one line on stderr, no stack."""
    placed = [str(tmp_path / word) if word in ("run", "nowhere", "models") else word for word in words]
    result = model(*placed)

    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_it_is_a_module_to_run(tmp_path: Path) -> None:
    """With the same status and the same words."""
    command = [sys.executable, "-m", "model", "evaluate", "--run", str(tmp_path / "run")]
    environment = {**os.environ, "COLUMNS": "160"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)

    assert (result.returncode, result.stdout) == (1, "")
    assert "there is no run" in result.stderr
