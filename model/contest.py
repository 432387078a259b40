"""The contest of encoders as rankers: each trained alike, seed by seed, and measured in quality, size and time.

Every training is a run of its own in the contest's folder, so an interrupted contest goes on where it stopped and a
finished training is read back. Where there are several learning rates, each contender gets the one with which its
validation loss is least, found with a seed of its own: none has to take what suits another. It does not know the
command line or how results are printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np

from model.config import Encoder
from model.datasets.base import Dataset
from model.evaluate import trained_result, values_of
from model.latency import Latency, request_latencies
from model.metrics import Interval, paired_interval
from model.progress import Reporter
from model.ranker import build_ranker
from model.run import RunError, TrainingSettings

TUNING_SEED = 10
"""Of the trainings that choose a learning rate; the seeds of the results stay below it."""

COMPARED = ("auc", "ne")
_CONTENDER = re.compile(r"(\w+):(\d+)x(\d+)")


@dataclass(frozen=True)
class Contender:
    """An encoder at a size. A Transformer's FFN is 4 × the width; HSTU has none."""

    encoder: Encoder
    embedding_dim: int
    layers: int

    @classmethod
    def read(cls, text: str) -> Contender:
        """`hstu:32x2` is an encoder, its width and its number of layers. Raises RunError."""
        found = _CONTENDER.fullmatch(text)
        if found is None or found[1] not in get_args(Encoder):
            names = ", ".join(get_args(Encoder))
            raise RunError(f"a contender is ENCODER:WIDTHxLAYERS, the encoder one of {names}; got {text!r}")
        return cls(cast(Encoder, found[1]), int(found[2]), int(found[3]))

    @property
    def name(self) -> str:
        return f"{self.encoder}:{self.embedding_dim}x{self.layers}"

    def settings(self, base: TrainingSettings) -> TrainingSettings:
        """The contest's settings with this encoder at this size."""
        width = self.embedding_dim
        return replace(base, encoder=self.encoder, embedding_dim=width, layers=self.layers, ffn_dim=4 * width)


class Size(NamedTuple):
    """parameters: of the encoder alone, without tokens, head and item table · latency: of one request"""

    parameters: int
    latency: Latency


@dataclass(frozen=True)
class Contest:
    """What came of it, by contender; the first is the reference. rates: learning rates · results: one a seed."""

    tasks: tuple[str, ...]
    rates: dict[str, float]
    results: dict[str, list[dict[str, Any]]]

    @property
    def reference(self) -> str:
        return next(iter(self.results))

    def spread(self, name: str, task: str, measure: str) -> tuple[float, float] | None:
        """Mean and standard deviation over the seeds (0 for one seed)."""
        values = values_of(self.results[name], task, measure)
        return (float(np.mean(values)), float(np.std(values, ddof=min(1, len(values) - 1)))) if values else None

    def difference(self, name: str, task: str, measure: str) -> Interval | None:
        """The contender − the reference, paired by seed, with its 95 % interval; None below two seeds."""
        ours, theirs = (values_of(self.results[each], task, measure) for each in (name, self.reference))
        return paired_interval(ours, theirs) if ours and theirs else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, for a file."""
        differences = {
            name: {
                task: {
                    measure: interval._asdict()
                    for measure in COMPARED
                    if (interval := self.difference(name, task, measure)) is not None
                }
                for task in self.tasks
            }
            for name in self.results
            if name != self.reference
        }
        return {"learning_rates": self.rates, "results": self.results, "differences_to_reference": differences}


def measured_sizes(
    dataset: Dataset, base: TrainingSettings, contenders: Sequence[Contender], candidates: int
) -> dict[str, Size]:
    """Each contender's parameters, and its time for so many candidates and the longest history."""
    configs = {each.name: each.settings(base).config(dataset) for each in contenders}
    latencies = request_latencies(configs, base.max_history, candidates)
    return {
        name: Size(sum(weights.numel() for weights in build_ranker(config).encoder.parameters()), latencies[name])
        for name, config in configs.items()
    }


def contest(
    dataset: Dataset,
    base: TrainingSettings,
    contenders: Sequence[Contender],
    folder: Path,
    *,
    seeds: int,
    rates: Sequence[float],
    reporter: Callable[[str], Reporter] | None = None,
) -> Contest:
    """Train what is not trained yet, seeds 0 to `seeds` − 1. reporter: called with the name of each training."""
    if not 1 <= seeds <= TUNING_SEED:
        raise RunError(f"a contest has 1 to {TUNING_SEED} seeds, got {seeds}")

    def result(settings: TrainingSettings, seed: int, rate: float) -> dict[str, Any]:
        name = f"{settings.encoder}-{settings.embedding_dim}x{settings.layers}-rate{rate:g}-seed{seed}"
        wanted = replace(settings, seed=seed, learning_rate=rate)
        return trained_result(dataset, wanted, folder / name, reporter=reporter)

    chosen: dict[str, float] = {}
    results: dict[str, list[dict[str, Any]]] = {}
    for contender in contenders:
        settings = contender.settings(base)
        losses = {rate: result(settings, TUNING_SEED, rate)["validation_loss"] for rate in rates if len(rates) > 1}
        chosen[contender.name] = min(losses, key=lambda rate: losses[rate]) if losses else rates[0]
        results[contender.name] = [result(settings, seed, chosen[contender.name]) for seed in range(seeds)]
    return Contest(dataset.tasks, chosen, results)
