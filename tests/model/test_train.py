"""Training: resumable to the bit, better than popularity where tastes are planted, calibrated where it is a price."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.datasets.base import Dataset
from model.datasets.synthetic import World, load_synthetic
from model.evaluate import popularity_quality
from model.progress import Silent
from model.recipes import recipe
from model.run import Run, RunError, TrainingSettings
from model.train import Trained, item_table, predict, restore, train

TINY = World(members=40, items=40, sessions=8)
SETTINGS = TrainingSettings(
    data="synthetic", surface="feed", embedding_dim=8, ffn_dim=16, head_dim=8, max_history=12, slack=4, epochs=3
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A tiny synthetic feed."""
    return load_synthetic("feed", seed=2, world=TINY)


def trained_in(folder: Path, dataset: Dataset, settings: TrainingSettings = SETTINGS) -> Trained:
    """Train to the end in `folder`."""
    run = Run(folder)
    run.open(settings)
    return train(dataset, settings, run)


class Interrupted(Silent):
    """Ctrl-C right after the first epoch's checkpoint."""

    def epoch(self, epoch: int, train_loss: float, validation_loss: float, best: bool) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("alpha", [2.0, 1.4])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, dataset: Dataset, alpha: float
) -> None:
    """Interrupted after one epoch and run again, every weight is the same to the bit."""
    settings = replace(SETTINGS, stochastic_length=alpha)
    whole = trained_in(tmp_path / "whole", dataset, settings)
    run = Run(tmp_path / "resumed")
    run.open(settings)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, settings, run, reporter=Interrupted())
    torch.rand(5)  # whatever else happened in between
    resumed = trained_in(run.path, dataset, settings)

    assert run.checkpoint() is not None
    for name, value in whole.learner.state_dict().items():
        assert torch.equal(value, resumed.learner.state_dict()[name]), name
    assert resumed.result["tasks"] == whole.result["tasks"]


def test_the_seed_decides_the_weights(tmp_path: Path, dataset: Dataset) -> None:
    """Another seed is another model."""
    first = trained_in(tmp_path / "0", dataset)
    other = trained_in(tmp_path / "1", dataset, replace(SETTINGS, seed=1))

    assert not torch.equal(first.learner.items.weight, other.learner.items.weight)


def test_a_stochastic_length_decides_the_weights_and_leaves_predictions_alone(tmp_path: Path, dataset: Dataset) -> None:
    """Training leaves actions out, a prediction reads the whole window."""
    thin = replace(SETTINGS, stochastic_length=1.4)
    whole, trained = trained_in(tmp_path / "whole", dataset), trained_in(tmp_path / "thin", dataset, thin)
    part = dataset.splits["test"]

    assert not torch.equal(whole.learner.items.weight, trained.learner.items.weight)
    assert np.array_equal(predict(whole.learner, dataset, part, SETTINGS), predict(whole.learner, dataset, part, thin))


def test_a_finished_run_is_read_back_as_it_was(tmp_path: Path, dataset: Dataset) -> None:
    """`restore` gives the best epoch's weights and the calibrations."""
    trained = trained_in(tmp_path, dataset)
    restored = restore(dataset, SETTINGS, Run(tmp_path))
    part = dataset.splits["test"]

    assert np.array_equal(
        predict(trained.learner, dataset, part, SETTINGS), predict(restored.learner, dataset, part, SETTINGS)
    )
    assert restored.calibrations == trained.calibrations


def test_an_unfinished_run_cannot_be_restored(tmp_path: Path, dataset: Dataset) -> None:
    """The message says how to finish it."""
    run = Run(tmp_path)
    run.open(SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, SETTINGS, run, reporter=Interrupted())

    with pytest.raises(RunError, match="not finished; run `train` on it again"):
        restore(dataset, SETTINGS, run)


def test_weights_of_another_version_are_refused_with_a_way_out(tmp_path: Path, dataset: Dataset) -> None:
    """A checkpoint that lacks what the ranker has now is an error in words, whoever reads it."""
    trained_in(tmp_path, dataset)
    run = Run(tmp_path)
    state = run.checkpoint()
    assert state is not None
    for weights in (state["best"], state["learner"]):
        del weights["prior"]
    run.save_checkpoint(state)

    with pytest.raises(RunError, match="another version of the ranker; start over with --fresh"):
        restore(dataset, SETTINGS, run)
    with pytest.raises(RunError, match="another version of the ranker"):
        train(dataset, SETTINGS, run)


def test_training_stops_when_validation_no_longer_improves(tmp_path: Path, dataset: Dataset) -> None:
    """With patience 1 and a rate that overfits at once, not all epochs are run, and the best one is kept."""
    settings = replace(SETTINGS, epochs=12, patience=1, learning_rate=0.05)
    trained = trained_in(tmp_path, dataset, settings)

    assert trained.result["epochs"] < 12
    assert trained.result["best_epoch"] == trained.result["epochs"] - 1


def test_predictions_are_in_the_impressions_order(tmp_path: Path, dataset: Dataset) -> None:
    """Sorting by history length to save padding leaves no trace."""
    learner = trained_in(tmp_path, dataset).learner
    part = dataset.splits["test"]
    whole = predict(learner, dataset, part, SETTINGS)
    for row in (0, len(part) // 2, len(part) - 1):
        window = slice(part.candidate_offsets[row], part.candidate_offsets[row + 1])
        alone = predict(learner, dataset, part.take(np.array([row])), SETTINGS)
        assert np.allclose(whole[window], alone, atol=1e-5)


def test_the_feed_is_not_calibrated_and_ads_are(tmp_path: Path) -> None:
    """Platt scaling is fitted on the validation split of ads; both figures are reported."""
    feed = trained_in(tmp_path / "feed", load_synthetic("feed", 2, TINY))
    ads = trained_in(tmp_path / "ads", load_synthetic("ads", 2, TINY), replace(SETTINGS, surface="ads"))

    assert all(calibration.scale == 1.0 and calibration.offset == 0.0 for calibration in feed.calibrations)
    assert ads.calibrations[0].scale != 1.0
    assert set(ads.result["uncalibrated"]["click"]) == set(ads.result["tasks"]["click"])


def test_ads_can_take_over_the_feeds_items(tmp_path: Path, dataset: Dataset) -> None:
    """The table is frozen, so both surfaces' embedding version is one."""
    feed = item_table(dataset, trained_in(tmp_path / "feed", dataset).learner)
    ads = load_synthetic("ads", 2, TINY)
    settings = replace(SETTINGS, surface="ads", items_from=str(tmp_path / "feed"))
    run = Run(tmp_path / "ads")
    run.open(settings)
    trained = train(ads, settings, run, items=feed)

    assert item_table(ads, trained.learner).fingerprint() == feed.fingerprint()


def test_items_of_another_data_set_or_width_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    """Embeddings are never taken for other items."""
    table = item_table(dataset, trained_in(tmp_path / "feed", dataset).learner)
    more = load_synthetic("feed", seed=2, world=replace(TINY, items=50))

    with pytest.raises(RunError, match="its items differ"):
        train(more, SETTINGS, Run(tmp_path / "other"), items=table)
    with pytest.raises(RunError, match="width 8"):
        train(dataset, replace(SETTINGS, embedding_dim=16), Run(tmp_path / "wide"), items=table)


@pytest.mark.slow
def test_a_trained_ranker_beats_popularity_clearly(tmp_path: Path) -> None:
    """On planted tastes, with the default settings, AUC is ahead by far more than a seed can move it."""
    dataset = load_synthetic("feed", seed=0)
    trained = trained_in(
        tmp_path, dataset, TrainingSettings(data="synthetic", surface="feed", **recipe("synthetic", "transformer"))
    )
    popular = popularity_quality(dataset)

    for task, values in trained.result["tasks"].items():
        assert popular[task].auc is not None
        assert values["auc"] > popular[task].auc + 0.05
