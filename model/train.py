"""Training: from a data set and settings to weights, a calibration and the quality on the test split.

A run that was interrupted goes on after its last finished epoch and ends with the very weights of an uninterrupted
one: every epoch draws its randomness from (seed, epoch) alone. It does not know the command line or how to export.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.bundle import Calibration, ItemTable
from model.config import RankerConfig
from model.datasets.base import F32, Dataset, Impressions
from model.datasets.batches import Batch, gather, ordered, shuffled, window_lengths
from model.datasets.cooccurrence import cooccurrence
from model.datasets.stochastic_length import stochastic_lengths, thinned
from model.learner import Learner
from model.metrics import Quality, fit_platt, quality
from model.progress import Reporter, Silent
from model.run import Run, RunError, TrainingSettings

EVALUATION_BATCH = 128
GRADIENT_NORM = 1.0
WARM_UP = 0.1  # share of all steps in which the learning rate rises; it falls along a cosine after
FINAL_RATE = 0.05  # what is left of the learning rate at the end


@dataclass(frozen=True)
class Trained:
    """A finished run: the best epoch's weights, one calibration a task, and what training wrote about itself."""

    learner: Learner
    config: RankerConfig
    calibrations: tuple[Calibration, ...]
    result: dict[str, Any]


def train(
    dataset: Dataset,
    settings: TrainingSettings,
    run: Run,
    *,
    items: ItemTable | None = None,
    reporter: Reporter | None = None,
) -> Trained:
    """Train, or go on training, in `run` (opened for `settings`). `items`: the table to take over and freeze."""
    reporter = reporter or Silent()
    began = time.perf_counter()
    learner = new_learner(dataset, settings, items)
    optimizer = _optimizer(learner, settings)
    state = run.checkpoint() or {"epoch": 0, "best_loss": math.inf, "best_epoch": 0, "seconds": 0.0, "best": {}}
    if state["epoch"]:
        _load(learner, state["learner"], run)
        optimizer.load_state_dict(state["optimizer"])
    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        if epoch - state["best_epoch"] > settings.patience:
            break
        train_loss = _epoch(dataset, settings, learner, optimizer, epoch, reporter)
        loss = log_loss(dataset.splits["validation"], predict(learner, dataset, dataset.splits["validation"], settings))
        if not math.isfinite(loss):
            raise RunError(f"the validation loss of epoch {epoch} is {loss}; lower --learning-rate")
        best = loss < state["best_loss"]
        if best:
            state |= {"best_loss": loss, "best_epoch": epoch, "best": _copy(learner)}
        state |= {"epoch": epoch, "learner": learner.state_dict(), "optimizer": optimizer.state_dict()}
        state["seconds"] += time.perf_counter() - began
        began = time.perf_counter()
        run.save_checkpoint(state)
        reporter.epoch(epoch, train_loss, loss, best)
    learner.load_state_dict(state["best"])
    calibrations = _calibrate(dataset, learner, settings)
    result = {
        "settings_seed": settings.seed,
        "best_epoch": state["best_epoch"],
        "epochs": state["epoch"],
        "validation_loss": state["best_loss"],
        "seconds": round(state["seconds"], 2),
        "calibrations": [calibration.model_dump() for calibration in calibrations],
        **test_result(dataset, predict(learner, dataset, dataset.splits["test"], settings), calibrations),
    }
    run.save_result(result)
    return Trained(learner.eval(), settings.config(dataset), calibrations, result)


def restore(dataset: Dataset, settings: TrainingSettings, run: Run) -> Trained:
    """A finished run from its folder. Raises RunError when training there is not done."""
    result, state = run.result(), run.checkpoint()
    if result is None or state is None:
        raise RunError(f"{run.path}: training is not finished; run `train` on it again, it goes on where it stopped")
    learner = new_learner(dataset, settings, None)
    _load(learner, state["best"], run)
    calibrations = tuple(Calibration(**values) for values in result["calibrations"])
    return Trained(learner.eval(), settings.config(dataset), calibrations, result)


def item_table(dataset: Dataset, learner: Learner) -> ItemTable:
    """The item table to be exported or shared with another surface."""
    return ItemTable(dataset.item_ids, learner.item_embeddings().detach().numpy())


def new_learner(dataset: Dataset, settings: TrainingSettings, items: ItemTable | None) -> Learner:
    """A learner as it is before the first epoch."""
    part = dataset.splits["train"]
    torch.manual_seed(settings.seed)
    learner = Learner(
        settings.config(dataset), _known(dataset), settings.drop_items, settings.drop_history, settings.embedding_std
    )
    # An action is as loud as its item from the start: a ranker must bind the two before it can learn anything else.
    nn.init.normal_(learner.ranker.tokens.action.weight, std=settings.embedding_std)  # type: ignore[union-attr, arg-type]
    # A constant input has no scale; the head leaves it as it is.
    learner.ranker.head.set_normalisation(*_moments(part.features), *_moments(part.context))  # type: ignore[union-attr, operator]
    nn.init.zeros_(learner.ranker.head.logits.bias)  # type: ignore[union-attr, arg-type]
    if items is not None:
        if items.ids != dataset.item_ids:
            raise RunError("the run to take items from was trained on another data set: its items differ")
        if items.embeddings.shape[1] != settings.embedding_dim:
            raise RunError(
                f"the run to take items from has embeddings of width {items.embeddings.shape[1]}, "
                f"this one asks for {settings.embedding_dim}"
            )
        learner.freeze_items(items)
    elif settings.cooccurrence > 0.0:
        prior = settings.cooccurrence * cooccurrence(dataset, settings.embedding_dim)
        learner.start_from(torch.from_numpy(prior))
    return learner


def predict(learner: Learner, dataset: Dataset, part: Impressions, settings: TrainingSettings) -> F32:
    """Logits of every candidate of `part`: [S, K] float32, in its order."""
    learner.eval()
    # Requests of like length side by side: less padding. Their candidates go back to where they came from.
    order = np.argsort(part.history_end, kind="stable")
    sorted_part = part.take(order)
    size = EVALUATION_BATCH if not learner.per_candidate else EVALUATION_BATCH // 4
    logits: list[F32] = []
    with torch.inference_mode():
        for rows in ordered(sorted_part, size):
            batch = gather(dataset, sorted_part, rows, settings.max_history, settings.slack)
            logits.append(learner(batch).numpy()[batch.candidate_mask])
    result = np.empty((len(part.candidate_items), len(dataset.tasks)), dtype=np.float32)
    lengths = np.diff(sorted_part.candidate_offsets)
    back = np.repeat(part.candidate_offsets[order] - sorted_part.candidate_offsets[:-1], lengths)
    result[back + np.arange(len(back))] = np.concatenate(logits)
    return result


def log_loss(part: Impressions, logits: F32) -> float:
    """Mean binary cross-entropy over candidates and tasks."""
    return float(F.binary_cross_entropy_with_logits(torch.from_numpy(logits), torch.from_numpy(part.labels)))


def test_result(dataset: Dataset, logits: F32, calibrations: tuple[Calibration, ...]) -> dict[str, Any]:
    """Quality on the test split, by task: with the calibration (`tasks`) and without (`uncalibrated`)."""
    return {
        "tasks": {
            name: _quality(dataset, logits, index, calibrations[index])._asdict()
            for index, name in enumerate(dataset.tasks)
        },
        "uncalibrated": {
            name: _quality(dataset, logits, index, Calibration())._asdict() for index, name in enumerate(dataset.tasks)
        },
    }


def calibrate(dataset: Dataset, logits: F32) -> tuple[Calibration, ...]:
    """Platt scaling on the validation split ([S, K] logits) for ads, whose probability is a price; feed: identity."""
    if dataset.surface != "ads":
        return tuple(Calibration() for _ in dataset.tasks)
    labels = dataset.splits["validation"].labels
    return tuple(fit_platt(_f64(labels[:, k]), _f64(logits[:, k])) for k in range(len(dataset.tasks)))


def _epoch(
    dataset: Dataset,
    settings: TrainingSettings,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    reporter: Reporter,
) -> float:
    """One pass over the training split. Returns its mean loss."""
    part = dataset.splits["train"]
    choice = np.random.default_rng((settings.seed, epoch, 1))  # not the order's: that is the same whatever is left out
    windows = window_lengths(part.history_end, settings.max_history, settings.slack)
    lengths = stochastic_lengths(windows, settings.max_history, settings.stochastic_length, choice)
    lengths = np.where(lengths < windows, lengths, part.history_end)
    batches = shuffled(lengths, settings.batch_size, np.random.default_rng((settings.seed, epoch)))
    torch.manual_seed(hash((settings.seed, epoch)) & 0x7FFF_FFFF)  # ints hash to the same number in every process
    learner.train()
    total = 0.0
    for done, rows in enumerate(batches):
        rate = _rate((epoch - 1) * len(batches) + done, settings.epochs * len(batches))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate
        batch = thinned(gather(dataset, part, rows, settings.max_history, settings.slack), lengths[rows], choice)
        loss = _loss(learner(batch), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learner.parameters(), GRADIENT_NORM)
        optimizer.step()
        total += loss.item()
        reporter.step(epoch, done + 1, len(batches), total / (done + 1))
    return total / len(batches)


def _loss(logits: Tensor, batch: Batch) -> Tensor:
    real = torch.from_numpy(batch.candidate_mask)
    return F.binary_cross_entropy_with_logits(logits[real], torch.from_numpy(batch.labels)[real])


def _rate(step: int, steps: int) -> float:
    warm = max(1, int(steps * WARM_UP))
    if step < warm:
        return (step + 1) / warm
    return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _optimizer(learner: Learner, settings: TrainingSettings) -> torch.optim.AdamW:
    # Vectors (norms, biases) do not decay; item embeddings have a rate of their own.
    items = [parameter for parameter in learner.items.parameters() if parameter.requires_grad]
    ranker = list(learner.ranker.parameters())
    groups = [
        {"params": items, "weight_decay": settings.item_decay},
        {"params": [parameter for parameter in ranker if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in ranker if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate)


def _calibrate(dataset: Dataset, learner: Learner, settings: TrainingSettings) -> tuple[Calibration, ...]:
    return calibrate(dataset, predict(learner, dataset, dataset.splits["validation"], settings))


def _quality(dataset: Dataset, logits: F32, task: int, calibration: Calibration) -> Quality:
    part = dataset.splits["test"]
    return quality(_f64(part.labels[:, task]), _f64(logits[:, task]), part.candidate_offsets, calibration)


def _known(dataset: Dataset) -> Tensor:
    """[N] bool: the unknown item, and those that training meets as candidates or in its histories."""
    part = dataset.splits["train"]
    known = np.zeros(len(dataset.item_ids), dtype=np.bool_)
    known[0] = True
    known[part.candidate_items] = True
    last = np.zeros(len(dataset.member_ids), dtype=np.int64)
    np.maximum.at(last, part.member, part.history_end)
    position = np.arange(len(dataset.log.items)) - np.repeat(dataset.log.offsets[:-1], np.diff(dataset.log.offsets))
    known[dataset.log.items[position < np.repeat(last, np.diff(dataset.log.offsets))]] = True
    return torch.from_numpy(known)


def _moments(values: F32) -> tuple[Tensor, Tensor]:
    wide = values.astype(np.float64)
    return torch.from_numpy(wide.mean(axis=0)).float(), torch.from_numpy(wide.std(axis=0)).float()


def _load(learner: Learner, weights: dict[str, Tensor], run: Run) -> None:
    try:
        learner.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{run.path} was trained by another version of the ranker; start over with --fresh") from error


def _copy(learner: Learner) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in learner.state_dict().items()}


def _f64(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.astype(np.float64)
