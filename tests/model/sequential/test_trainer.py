"""Training: far better than popularity where a pattern is planted, and resumable to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.progress import Silent
from model.run import Run, RunError
from model.sequential.losses import LossName
from model.sequential.sequences import Sequences
from model.sequential.settings import Encoder, NextItemSettings
from model.sequential.trainer import evaluate, restore, train

SETTINGS = NextItemSettings(
    "ring", "sasrec", "sampled_softmax", "validated", dim=16, layers=1, heads=2, max_length=8, batch_size=16,
    learning_rate=1e-2, epochs=25,
)  # fmt: skip


class Interrupted(Silent):
    """Stops the training after an epoch, as a kill would between two checkpoints."""

    def __init__(self, after: int) -> None:
        self._after = after

    def step(self, epoch: int, done: int, steps: int, loss: float) -> None:
        if epoch > self._after:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("encoder", "loss"),
    [("sasrec", "sampled_softmax"), ("hstu", "sampled_softmax"), ("sasrec", "bce"), ("sasrec_postnorm", "bce")],
)
def test_a_planted_pattern_is_learned(tmp_path: Path, sequences: Sequences, encoder: Encoder, loss: LossName) -> None:
    """What comes next on the ring is among the first five nearly always; popularity cannot know it, transitions can."""
    settings = replace(SETTINGS, encoder=encoder, loss=loss)
    run = Run(tmp_path)
    run.open(settings)
    result = train(sequences, settings, run)

    assert result["test"]["hr@5"] > 0.9
    assert result["baselines"]["popularity"]["hr@5"] < 0.3
    assert result["baselines"]["transitions"]["hr@5"] > 0.9
    assert run.result() == result
    assert evaluate(restore(sequences, settings, run), sequences, settings, "test") == result["test"]


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path, sequences: Sequences) -> None:
    """The same weights, bit by bit, wherever it was stopped."""
    settings = replace(SETTINGS, epochs=3)
    runs = [Run(tmp_path / name) for name in ("whole", "broken")]
    for run in runs:
        run.open(settings)
    train(sequences, settings, runs[0])
    with pytest.raises(KeyboardInterrupt):
        train(sequences, settings, runs[1], reporter=Interrupted(after=1))
    assert runs[1].checkpoint()["epoch"] == 1
    train(sequences, settings, runs[1])

    whole, broken = (run.checkpoint()["network"] for run in runs)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_training_stops_when_the_validation_does_not_improve(tmp_path: Path, sequences: Sequences) -> None:
    """And the best epoch's network is what is tested."""
    settings = replace(SETTINGS, learning_rate=1e-12, patience=2)
    run = Run(tmp_path)
    run.open(settings)
    result = train(sequences, settings, run)

    assert result["epochs"] == result["best_epoch"] + 2 < settings.epochs


def test_the_fixed_protocol_trains_to_the_end_and_holds_one_item_out(tmp_path: Path, sequences: Sequences) -> None:
    """The last epoch is tested, and no validation is reported."""
    settings = replace(SETTINGS, protocol="fixed", epochs=3, patience=1)
    run = Run(tmp_path)
    run.open(settings)
    result = train(sequences, settings, run)

    assert result["epochs"] == result["best_epoch"] == 3
    assert result["validation"] is None


def test_what_cannot_be_restored_is_told(tmp_path: Path, sequences: Sequences) -> None:
    """Nothing trained yet, and weights of another shape."""
    run = Run(tmp_path)
    run.open(SETTINGS)
    with pytest.raises(RunError, match="no epoch is finished yet"):
        restore(sequences, SETTINGS, run)
    run.save_checkpoint({"best_network": {"items.weight": torch.zeros(1)}})
    with pytest.raises(RunError, match="another version"):
        restore(sequences, SETTINGS, run)
