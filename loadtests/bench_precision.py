"""`python -m loadtests.bench_precision [--quick] [--data FOLDER] [--run FOLDER]`: reduced precision, time and accuracy.

Row 6 of the performance targets (README.md here): a ranker of the large shape is trained on MovieLens 100K, reduced to
bfloat16, and compared with itself on one thread: model time, AUC on the test split, and the ten best of a page of 512
films. Trained weights matter: random ones have no outliers to lose accuracy on and no denormals to lose time on. Ends
in one line of JSON. No service, no network.
"""

from __future__ import annotations

import argparse
import copy
import functools
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loadtests.bench_bare import frozen
from loadtests.bench_model import Effort
from loadtests.bench_results import Result, by_part, not_measured, print_line, reported, show
from loadtests.bench_shapes import LARGE, ReferenceShape
from loadtests.timing import Side, alternate, machine, median
from model.datasets.base import Dataset
from model.datasets.batches import gather
from model.datasets.loader import load
from model.learner import Learner
from model.metrics import auc
from model.precision import Precision, at_precision
from model.ranker import Ranker
from model.recipes import recipe
from model.run import Run, TrainingSettings
from model.train import predict, restore, train
from service.settings import Settings

REDUCED: Precision = "bf16"
TIME, AUC_LOSS, OVERLAP = 0.65, 0.0005, 0.99
"""Row 6: time and AUC loss at most, overlap of the ten best at least."""

TOP = 10
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Where data sets are looked for without RANKONCE_DATA: beside the checkout."""


class Size(NamedTuple):
    """share: of the training impressions learned from · pages: rankings whose ten best are compared."""

    share: float
    pages: int
    effort: Effort


FULL = Size(1.0, 300, Effort(41, 3))
QUICK = Size(0.15, 100, Effort(15, 3))


class Subject(NamedTuple):
    """A trained learner and what it was trained on. Its ranker is in float32."""

    dataset: Dataset
    settings: TrainingSettings
    learner: Learner

    def at(self, precision: Precision) -> Learner:
        learner = copy.deepcopy(self.learner)
        learner.ranker = at_precision(cast(Ranker, learner.ranker), precision)
        return learner


def row_6(movielens: Path, size: Size, shape: ReferenceShape = LARGE, run: Path | None = None) -> list[Result]:
    """The time ratio first: it meets its target only with the accuracy's targets. run: kept there, or used if done."""
    with tempfile.TemporaryDirectory(prefix="rankonce-bench-") as scratch:
        subject = trained_subject(movielens, size, shape, run or Path(scratch))
    with torch.inference_mode():
        losses, overlap, furthest = accuracy(subject, size.pages, shape.candidates)
        seconds = times(subject, shape, size.effort)
    ratio = median(seconds[REDUCED]) / median(seconds["fp32"])
    worst = max(losses.values())
    print(f"\n{shape}, trained on {subject.dataset.name}: fp32 {median(seconds['fp32']) * 1e3:.2f} ms,", end=" ")
    print(f"{REDUCED} {median(seconds[REDUCED]) * 1e3:.2f} ms, ratio {ratio:.3f}")
    print("  AUC lost: " + ", ".join(f"{task} {loss:+.6f}" for task, loss in losses.items()), end="; ")
    print(f"top {TOP} of {shape.candidates} shared: {overlap:.4f}; logits differ by up to {furthest:.4f}")
    met = ratio <= TIME and worst < AUC_LOSS and overlap >= OVERLAP
    return [
        Result(f"6 {shape.name}", round(ratio, 3), TIME, met),
        Result("6 auc loss", round(worst, 6) + 0.0, AUC_LOSS, worst < AUC_LOSS),
        Result("6 top-10 overlap", round(overlap, 4), OVERLAP, overlap >= OVERLAP),
        reported("6 logit difference", furthest),
    ]


def measure(size: Size) -> list[Result]:
    """Row 6, which says so where its data set is not there."""
    torch.set_num_threads(1)
    try:
        movielens = find_movielens(None)
    except FileNotFoundError as error:
        return [not_measured("6 large", TIME, str(error))]
    return row_6(movielens, size)


def trained_subject(movielens: Path, size: Size, shape: ReferenceShape, run: Path) -> Subject:
    """One epoch over `size.share` of the training impressions, with the data set's recipe otherwise."""
    config = shape.config
    settings = TrainingSettings(
        data=str(movielens.resolve()),
        surface="feed",
        **{
            **recipe("movielens", config.encoder),
            "epochs": 1,
            "embedding_dim": config.embedding_dim,
            "layers": config.layers,
            "heads": config.heads,
            "ffn_dim": config.ffn_dim,
            "head_dim": config.head_dim,
            "max_history": config.max_history,
            "slack": config.slack,
        },
    )
    folder = Run(run)
    folder.open(settings)
    dataset = load(settings.data, settings.surface, settings.data_seed)
    if folder.result() is not None:
        return Subject(dataset, settings, restore(dataset, settings, folder).learner)
    impressions = dataset.splits["train"]
    some = np.random.default_rng(0).permutation(len(impressions))[: int(size.share * len(impressions))]
    learned_from = replace(dataset, splits={**dataset.splits, "train": impressions.take(np.sort(some))})
    return Subject(dataset, settings, train(learned_from, settings, folder).learner)


def accuracy(subject: Subject, pages: int, candidates: int) -> tuple[dict[str, float], float, float]:
    """AUC lost on the test split by task, mean share of the ten best that stay, largest difference of a logit."""
    dataset, settings, _ = subject
    part = dataset.splits["test"]
    learners = [subject.at("fp32"), subject.at(REDUCED)]
    before, after = (predict(learner, dataset, part, settings) for learner in learners)
    losses = {}
    for index, task in enumerate(dataset.tasks):
        labels = part.labels[:, index].astype(np.float64)
        there, here = (auc(labels, logits[:, index].astype(np.float64)) for logits in (before, after))
        assert there is not None, "a test split has both labels"
        assert here is not None
        losses[task] = there - here
    shared = []
    for row in np.random.default_rng(1).permutation(len(part))[:pages]:
        inputs = page(subject, int(row), candidates)
        best = [top(cast(Ranker, learner.ranker)(*inputs)) for learner in learners]
        shared.append(len(best[0] & best[1]) / TOP)
    return losses, float(np.mean(shared)), float(np.abs(before - after).max())


def times(subject: Subject, shape: ReferenceShape, effort: Effort) -> dict[str, list[float]]:
    """Seconds of a cold request: the longest history there is, cut to the shape, and the shape's candidates."""
    dataset = subject.dataset
    part, log = dataset.splits["test"], dataset.log
    row = int(np.argmax(part.history_end))
    history = int(log.offsets[part.member[row]]) + np.arange(min(shape.history, int(part.history_end[row])))
    _, _, _, _, *request = page(subject, row, shape.candidates)
    past = (
        item_rows(subject, log.items[history]),
        torch.from_numpy(log.actions[history])[None],
        torch.from_numpy(log.times[history])[None],
        torch.ones(1, len(history), dtype=torch.bool),
    )
    microbatch = Settings().microbatch_size
    sides: dict[str, Side] = {
        precision: functools.partial(
            cold, frozen(cast(Ranker, subject.at(precision).ranker)), past, request, microbatch
        )
        for precision in ("fp32", REDUCED)
    }
    return alternate(sides, effort.rounds, effort.repeats)


def cold(artifact: Any, past: tuple[Tensor, ...], request: list[Tensor], microbatch: int) -> None:
    encoded = artifact.encode_history(*past)
    candidates, features, *rest = request
    for some, theirs in zip(candidates.split(microbatch, 1), features.split(microbatch, 1), strict=True):
        artifact.score_candidates(encoded, some, theirs, *rest)


def page(subject: Subject, row: int, candidates: int) -> list[Tensor]:
    """A test impression's member and moment with a page of other films, each as some impression showed it: what
    `forward` takes. The same films for every row, in another order.
    """
    dataset, settings, learner = subject
    part = dataset.splits["test"]
    batch = gather(dataset, part, np.array([row]), settings.max_history, settings.slack)
    _, shown = np.unique(part.candidate_items, return_index=True)
    chosen = np.random.default_rng(row).permutation(shown)[:candidates]
    return [
        item_rows(subject, batch.history_items[0]),
        torch.from_numpy(batch.history_actions),
        torch.from_numpy(batch.history_times),
        torch.from_numpy(batch.history_mask),
        item_rows(subject, part.candidate_items[chosen]),
        torch.from_numpy(part.features[chosen])[None],
        torch.from_numpy(batch.context),
        torch.zeros(1, learner.meta_dim),
        torch.from_numpy(batch.request_time),
    ]


def item_rows(subject: Subject, items: NDArray[np.int64]) -> Tensor:
    """Embeddings as a bundle holds them: items [n] → [1, n, D] f32."""
    return subject.learner.item_embeddings()[torch.from_numpy(items)][None].float()


def top(logits: Tensor) -> set[int]:
    """logits [1, C, K] → the places of the best by the feed's utility, all weights 1."""
    utility = torch.sigmoid(logits[0]).sum(dim=1)
    return set(utility.topk(min(TOP, len(utility))).indices.tolist())


def find_movielens(given: Path | None) -> Path:
    """The folder given, or `ml-100k` in RANKONCE_DATA or beside the checkout. Raises FileNotFoundError."""
    folder = given or Path(os.environ.get("RANKONCE_DATA", BESIDE)) / "ml-100k"
    if not (folder / "u.data").is_file():
        raise FileNotFoundError(
            f"{folder} has no u.data: name MovieLens 100K with --data, or its parent in RANKONCE_DATA"
        )
    return folder


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="learn from fewer impressions, under two minutes")
    parser.add_argument("--data", type=Path, help="MovieLens 100K; else ml-100k in RANKONCE_DATA, or in ../shared/data")
    parser.add_argument("--run", type=Path, help="keep the trained run here, or use it if it is done")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"{machine()}; 1 thread, microbatch_size {Settings().microbatch_size}, TorchScript frozen")
    results = row_6(find_movielens(options.data), QUICK if options.quick else FULL, run=options.run)
    show(results)
    line = by_part(results)
    print_line(line)
    return line


if __name__ == "__main__":
    main()
