"""Evaluation: every method alike, paired by seed, and resumed rather than repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.datasets.base import Dataset
from model.datasets.synthetic import World, load_synthetic
from model.evaluate import BASELINES, OURS, Evaluation, evaluate
from model.progress import Silent
from model.recipes import HSTU, RECIPES
from model.run import Run, RunError, TrainingSettings
from model.train import item_table, train

TINY = World(members=30, items=40, sessions=6)
SETTINGS = TrainingSettings(
    data="synthetic", surface="feed", embedding_dim=8, ffn_dim=16, head_dim=8, max_history=8, slack=4, epochs=1
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A tiny synthetic feed."""
    return load_synthetic("feed", seed=2, world=TINY)


@pytest.fixture
def run(tmp_path: Path, dataset: Dataset) -> Run:
    """A finished run."""
    run = Run(tmp_path / "feed")
    run.open(SETTINGS)
    train(dataset, SETTINGS, run)
    return run


def test_every_method_is_measured_with_every_seed(dataset: Dataset, run: Run) -> None:
    """All baselines and ours, each with as many results as there are seeds, and intervals of the gains."""
    evaluation = evaluate(dataset, run, seeds=2)

    assert tuple(evaluation.results) == (*BASELINES, OURS)
    assert all(len(results) == 2 for results in evaluation.results.values())
    assert evaluation.seeds == (0, 1)
    for method in BASELINES:
        gain = evaluation.gain(method, "click", "auc")
        assert gain is not None
        assert gain.low <= gain.mean <= gain.high


def test_an_evaluation_trains_nothing_twice(dataset: Dataset, run: Run) -> None:
    """The run itself counts as its own first seed; finished comparators are read back."""
    started: list[str] = []

    def reporter(name: str) -> Silent:
        started.append(name)
        return Silent()

    first = evaluate(dataset, run, baselines=["mean_pool"], seeds=2, reporter=reporter)
    again = evaluate(dataset, run, baselines=["popularity", "mean_pool"], seeds=2, reporter=reporter)

    assert started == ["mean_pool-seed0", "mean_pool-seed1", "append_cross-seed1"]
    assert again.results["mean_pool"] == first.results["mean_pool"]
    assert first.results[OURS][0] == run.result()


def test_a_run_with_another_runs_items_is_compared_on_the_same_items(dataset: Dataset, run: Run) -> None:
    """Comparators of an ads run read the table that it took over from the feed."""
    items = item_table(dataset, train(dataset, SETTINGS, run).learner)
    ads = load_synthetic("ads", 2, TINY)
    settings = replace(SETTINGS, surface="ads", items_from=str(run.path))
    own = Run(run.path.parent / "ads")
    own.open(settings)
    train(ads, settings, own, items=items)
    evaluate(ads, own, baselines=["mean_pool"])
    comparator = Run(own.evaluations / "mean_pool-seed0").checkpoint()

    assert comparator is not None
    assert (comparator["best"]["items.weight"].numpy() == items.embeddings).all()


def test_an_unfinished_run_is_not_evaluated(tmp_path: Path, dataset: Dataset) -> None:
    """The message says what to do first."""
    unfinished = Run(tmp_path)
    unfinished.open(SETTINGS)

    with pytest.raises(RunError, match="not finished"):
        evaluate(dataset, unfinished)


def test_gains_are_paired_and_ours_minus_theirs() -> None:
    """A constant gain has a narrow interval around it, whatever the seeds' spread."""

    def results(*values: float) -> list[dict[str, object]]:
        return [{"seconds": 1.0, "tasks": {"click": {"auc": value, "ne": None, "ndcg": 0.5}}} for value in values]

    evaluation = Evaluation(("click",), (0, 1, 2), {"concat": results(0.6, 0.7, 0.8), OURS: results(0.61, 0.71, 0.81)})
    gain = evaluation.gain("concat", "click", "auc")

    assert gain is not None
    assert gain.mean == pytest.approx(0.01)
    assert gain.low > 0
    assert evaluation.gain("concat", "click", "ne") is None
    assert evaluation.to_dict()["gains_of_append_cross"]["concat"]["click"]["auc"]["mean"] == pytest.approx(0.01)


def test_baselines_of_an_hstu_run_are_trained_as_without_it(dataset: Dataset, tmp_path: Path) -> None:
    """HSTU's own learning rate is for HSTU; one that the user chose is for all."""
    rates = {}
    for name, rate in (("tuned", HSTU["synthetic"]["learning_rate"]), ("chosen", 1e-3)):
        settings = replace(SETTINGS, encoder="hstu", learning_rate=rate)
        own = Run(tmp_path / name)
        own.open(settings)
        train(dataset, settings, own)
        evaluate(dataset, own, baselines=["mean_pool"])
        compared = Run(own.evaluations / "mean_pool-seed0").settings()
        rates[name] = (compared.encoder, compared.learning_rate)

    assert rates == {"tuned": ("transformer", RECIPES["synthetic"]["learning_rate"]), "chosen": ("transformer", 1e-3)}
