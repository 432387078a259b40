"""The command line of `compare-encoders`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from model.commands import app

CONTENDERS = "transformer:8x1,causal_transformer:8x1,hstu:8x1"


def compare(*words: object) -> Result:
    """`python -m model compare-encoders …` in this process, on one thread."""
    return CliRunner().invoke(app, ["compare-encoders", *map(str, words)])


@pytest.fixture
def purchases(tmp_path: Path) -> Path:
    """A file of purchase sequences, small enough to train on in seconds."""
    path = tmp_path / "shop.txt"
    path.write_text(
        "".join(f"m{member} {' '.join(f'i{(7 * member + 3 * at) % 60}' for at in range(8))}\n" for member in range(30))
    )
    return path


def test_encoders_are_compared_in_quality_size_and_time(tmp_path: Path, purchases: Path) -> None:
    """One command trains all of them; its tables and its file hold every contender."""
    run = tmp_path / "contest"
    words = ("--data", purchases, "--run", run, "--encoders", CONTENDERS)
    result = compare(*words, "--seeds", 2, "--epochs", 1, "--learning-rates", "1e-3", "--candidates", 8)

    assert result.exit_code == 0, result.stderr
    assert "minus the first" in result.stdout
    written = json.loads((run / "contest.json").read_text())
    assert list(written["results"]) == list(written["sizes"]) == CONTENDERS.split(",")
    assert all(len(results) == 2 for results in written["results"].values())
    # With one layer no history row is read by another: bidirectional and causal are the same function.
    quality = [[one["tasks"] for one in written["results"][name]] for name in CONTENDERS.split(",")]
    assert quality[0] == quality[1]
    assert quality[0] != quality[2]


def test_sizes_alone_are_shown_without_training(tmp_path: Path, purchases: Path) -> None:
    """Which is how sizes are matched."""
    run = tmp_path / "contest"
    words = ("--data", purchases, "--run", run, "--encoders", CONTENDERS)
    result = compare(*words, "--seeds", 0, "--candidates", 8)

    assert result.exit_code == 0, result.stderr
    assert "hstu:8x1" in result.stdout
    assert not run.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--encoders", "gru:8x1"), "ENCODER:WIDTHxLAYERS"),
        (("--encoders", "hstu:7x1"), "not a multiple of heads"),
        (("--encoders", "hstu:8x1", "--seeds", 11), "1 to 10 seeds"),
        (("--encoders", "hstu:8x1", "--learning-rates", "fast"), "could not convert"),
        (("--encoders", "hstu:8x1", "--surface", "ads"), "no ads surface"),
    ],
)
def test_what_a_user_can_mend_is_told_in_one_line(
    tmp_path: Path, purchases: Path, words: tuple[object, ...], message: str
) -> None:
    """Exit status 1, one line on stderr, no stack."""
    result = compare("--data", purchases, "--run", tmp_path / "contest", *words)

    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
