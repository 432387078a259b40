"""The contest of encoders: each trained alike, at its own learning rate, compared seed by seed, and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.contest import TUNING_SEED, Contender, Contest, contest, measured_sizes
from model.datasets.base import Dataset
from model.datasets.synthetic import World, load_synthetic
from model.progress import Silent
from model.run import Run, RunError, TrainingSettings

BASE = TrainingSettings(data="synthetic", surface="feed", head_dim=8, max_history=8, slack=4, epochs=1)
TRANSFORMER, HSTU = Contender("transformer", 8, 1), Contender("hstu", 6, 2)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A tiny synthetic feed."""
    return load_synthetic("feed", seed=2, world=World(members=30, items=40, sessions=6))


def test_a_contender_is_read_as_it_is_named() -> None:
    """Encoder, width and layers, there and back."""
    assert Contender.read("hstu:34x4") == Contender("hstu", 34, 4)
    assert Contender.read("causal_transformer:32x2").name == "causal_transformer:32x2"


@pytest.mark.parametrize("text", ["hstu", "hstu:32", "gru:32x2", "hstu:32x2 ", "hstu:-1x2", ""])
def test_what_is_no_contender_is_refused(text: str) -> None:
    """The message says how one is written."""
    with pytest.raises(RunError, match="ENCODER:WIDTHxLAYERS"):
        Contender.read(text)


def test_contenders_differ_in_encoder_and_size_alone() -> None:
    """Everything else that decides a run's weights is the contest's."""
    settings = HSTU.settings(BASE)

    assert (settings.encoder, settings.embedding_dim, settings.layers) == ("hstu", 6, 2)
    assert TRANSFORMER.settings(BASE).ffn_dim == 32
    assert TRANSFORMER.settings(settings) == TRANSFORMER.settings(BASE)


def test_sizes_are_the_encoders_own_and_times_relative_to_the_first(dataset: Dataset) -> None:
    """Parameters by hand: projections, biases, norms, and the sink or the two tables of a bias."""
    sizes = measured_sizes(dataset, BASE, [TRANSFORMER, HSTU], candidates=4)
    width, ffn = 8, 32
    softmax = 4 * (width**2 + width) + 2 * width * ffn + ffn + width + 2 * 2 * width + 2 * width
    width, tables = 6, 9 + 129
    pointwise = 5 * (width**2 + width) + 2 * 2 * width + tables

    assert {name: size.parameters for name, size in sizes.items()} == {
        "transformer:8x1": softmax,
        "hstu:6x2": 2 * pointwise,
    }
    assert sizes["transformer:8x1"].latency.ratio == 1.0
    assert sizes["hstu:6x2"].latency.seconds > 0.0


def test_each_contender_gets_its_best_rate_and_nothing_is_trained_twice(dataset: Dataset, tmp_path: Path) -> None:
    """Rates are compared by validation loss with the seed that no result has; finished trainings are read back."""
    started: list[str] = []

    def reporter(name: str) -> Silent:
        started.append(name)
        return Silent()

    # The second rate is too small to learn anything in one epoch.
    rates = (1e-2, 1e-9)
    contenders = [TRANSFORMER, HSTU]
    first = contest(dataset, BASE, contenders, tmp_path, seeds=2, rates=rates, reporter=reporter)
    trained = len(started)
    again = contest(dataset, BASE, contenders, tmp_path, seeds=2, rates=rates, reporter=reporter)

    assert trained == len(set(started)) == len(contenders) * (len(rates) + 2)
    assert len(started) == trained
    assert again == first
    assert first.rates == {"transformer:8x1": 1e-2, "hstu:6x2": 1e-2}
    seeds = {Run(tmp_path / name).settings().seed for name in started if "1e-09" in name}
    assert seeds == {TUNING_SEED}
    assert [result["settings_seed"] for result in first.results["hstu:6x2"]] == [0, 1]


def test_one_rate_is_not_tuned(dataset: Dataset, tmp_path: Path) -> None:
    """Then only the seeds of the results are trained."""
    contest(dataset, BASE, [TRANSFORMER], tmp_path, seeds=1, rates=[1e-3])

    assert [folder.name for folder in tmp_path.iterdir()] == ["transformer-8x1-rate0.001-seed0"]


def test_a_contest_never_reports_the_seed_that_chose_the_rates(dataset: Dataset, tmp_path: Path) -> None:
    """More seeds than there are below it are refused before anything is trained."""
    with pytest.raises(RunError, match="1 to 10 seeds"):
        contest(dataset, BASE, [TRANSFORMER], tmp_path, seeds=TUNING_SEED + 1, rates=[1e-3])

    assert not any(tmp_path.iterdir())


def test_differences_are_paired_and_to_the_first() -> None:
    """A constant difference has a narrow interval around it, whatever the seeds' spread."""

    def results(*values: float) -> list[dict[str, object]]:
        return [{"tasks": {"click": {"auc": value, "ne": None}}} for value in values]

    outcome = Contest(("click",), {}, {"transformer": results(0.6, 0.7, 0.8), "hstu": results(0.61, 0.71, 0.81)})
    difference = outcome.difference("hstu", "click", "auc")

    assert outcome.spread("transformer", "click", "auc") == pytest.approx((0.7, 0.1))
    assert difference is not None
    assert tuple(difference) == pytest.approx((0.01, 0.01, 0.01))
    assert outcome.difference("hstu", "click", "ne") is None
    assert outcome.to_dict()["differences_to_reference"]["hstu"]["click"]["auc"]["mean"] == pytest.approx(0.01)
