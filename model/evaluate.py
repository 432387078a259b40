"""Evaluation: the served fusion against popularity and the other fusions, each trained the same way, seed by seed.

Every comparator is a run of its own under the evaluated run's folder, so an interrupted evaluation goes on where it
stopped and a finished one is read back. Popularity is not trained: the as-of smoothed share of positives of each item.
It does not know the command line or how results are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from model.bundle import ItemTable
from model.config import Fusion
from model.datasets.base import F32, Dataset, Split
from model.metrics import Interval, Quality, logit, paired_interval
from model.progress import Reporter
from model.recipes import recipe
from model.run import Run, RunError, TrainingSettings
from model.train import calibrate, item_table, restore, test_result, train

Method = Literal["popularity", "mean_pool", "concat", "append_self", "append_cross"]
Baseline = Literal["popularity", "mean_pool", "concat", "append_self"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
OURS: Fusion = "append_cross"
COMPARED = ("auc", "ne", "ndcg")


@dataclass(frozen=True)
class Evaluation:
    """Test quality by method, one result a seed; `seconds` is the training time of each (0 for popularity)."""

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    results: dict[Method, list[dict[str, Any]]]

    def values(self, method: Method, task: str, measure: str) -> list[float] | None:
        """One number a seed, or None where the measure is not defined on this test split."""
        return values_of(self.results[method], task, measure)

    def mean(self, method: Method, task: str, measure: str) -> float | None:
        values = self.values(method, task, measure)
        return float(np.mean(values)) if values else None

    def gain(self, baseline: Method, task: str, measure: str) -> Interval | None:
        """append_cross − baseline, paired by seed, with its 95 % interval; None below two seeds."""
        ours, theirs = self.values(OURS, task, measure), self.values(baseline, task, measure)
        return paired_interval(ours, theirs) if ours and theirs else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, for a file: results by method and the intervals of the gains."""
        gains = {
            baseline: {
                task: {
                    measure: interval._asdict()
                    for measure in COMPARED
                    if (interval := self.gain(baseline, task, measure)) is not None
                }
                for task in self.tasks
            }
            for baseline in self.results
            if baseline != OURS
        }
        return {"seeds": list(self.seeds), "results": self.results, "gains_of_append_cross": gains}


def values_of(results: Sequence[dict[str, Any]], task: str, measure: str) -> list[float] | None:
    """One number a result, or None where the measure is not defined on its test split."""
    found = [result["tasks"][task][measure] for result in results]
    return None if any(value is None for value in found) else found


def evaluate(
    dataset: Dataset,
    run: Run,
    *,
    baselines: Sequence[Baseline] = BASELINES,
    seeds: int = 1,
    reporter: Callable[[str], Reporter] | None = None,
) -> Evaluation:
    """Compare the finished `run` with `baselines` over `seeds` seeds, the run's own first.

    reporter: called with the name of each training that starts.
    """
    settings = run.settings()
    if run.result() is None:
        raise RunError(f"{run.path}: training is not finished; run `train` on it again, it goes on where it stopped")
    # Runs that took over an item table compare with comparators that take over the same one.
    items = item_table(dataset, restore(dataset, settings, run).learner) if settings.items_from else None
    numbers = tuple(range(settings.seed, settings.seed + seeds))
    results: dict[Method, list[dict[str, Any]]] = {}
    for baseline in baselines:
        if baseline == "popularity":
            results[baseline] = [_popularity(dataset)] * seeds
        else:
            results[baseline] = [_trained(dataset, run, settings, baseline, n, items, reporter) for n in numbers]
    results[OURS] = [_trained(dataset, run, settings, OURS, n, items, reporter) for n in numbers]
    return Evaluation(dataset.tasks, numbers, results)


def popularity_quality(dataset: Dataset) -> dict[str, Quality]:
    """The popularity baseline on the test split, by task."""
    return {task: Quality(**values) for task, values in _popularity(dataset)["tasks"].items()}


def _popularity(dataset: Dataset) -> dict[str, Any]:
    calibrations = calibrate(dataset, _popularity_logits(dataset, "validation"))
    return {"seconds": 0.0, **test_result(dataset, _popularity_logits(dataset, "test"), calibrations)}


def _popularity_logits(dataset: Dataset, split: Split) -> F32:
    part = dataset.splits[split]
    rates = dataset.popularity_at(part.candidate_items, part.candidate_times)
    return logit(rates.astype(np.float64)).astype(np.float32)


def _for_fusion(settings: TrainingSettings, fusion: Fusion, dataset: str) -> TrainingSettings:
    """The settings with another fusion. Those beside ours read no encoder, and so keep the data set's own recipe where
    the encoder's differs: a baseline must not be trained at HSTU's learning rate."""
    if fusion == OURS:
        return settings
    tuned, plain = recipe(dataset, settings.encoder), recipe(dataset, "transformer")
    own = {name: plain[name] for name, value in tuned.items() if getattr(settings, name) == value and name in plain}
    return replace(settings, fusion=fusion, encoder="transformer", **own)


def _trained(
    dataset: Dataset,
    run: Run,
    settings: TrainingSettings,
    fusion: Fusion,
    seed: int,
    items: ItemTable | None,
    reporter: Callable[[str], Reporter] | None,
) -> dict[str, Any]:
    """The result of one comparator."""
    wanted = replace(_for_fusion(settings, fusion, dataset.name), seed=seed)
    if wanted == settings:
        own = run.result()
        assert own is not None, "checked by evaluate"
        return own
    return trained_result(dataset, wanted, run.evaluations / f"{fusion}-seed{seed}", items=items, reporter=reporter)


def trained_result(
    dataset: Dataset,
    settings: TrainingSettings,
    folder: Path,
    *,
    items: ItemTable | None = None,
    reporter: Callable[[str], Reporter] | None = None,
) -> dict[str, Any]:
    """The result of the run in `folder`: read back, or trained now, or as much of it as is missing."""
    run = Run(folder)
    run.open(settings)
    found = run.result()
    if found is not None:
        return found
    shown = reporter(folder.name) if reporter else None
    return train(dataset, settings, run, items=items, reporter=shown).result
