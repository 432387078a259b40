"""Training of a next-item network, from sequences and settings to a result file.

An interrupted run goes on after its last finished epoch and ends with the very weights of an uninterrupted one: every
epoch draws its randomness from (seed, epoch) alone. It does not know the command line.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.progress import Reporter, Silent
from model.run import Run, RunError
from model.sequential.baselines import counted_ranks, popularity, transitions
from model.sequential.batch import Batch, to_batch
from model.sequential.losses import NEGATIVES, Unseen, bce, sampled_softmax
from model.sequential.network import Network
from model.sequential.ranking import measures, model_ranks
from model.sequential.sequences import Part, Sequences, windows
from model.sequential.settings import NextItemSettings

STOPS_ON = "ndcg@20"
"""The validation's measure that early stopping watches, as published."""


def train(
    sequences: Sequences, settings: NextItemSettings, run: Run, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Train, or go on training, in `run` (opened for `settings`). Returns what it wrote to the result file."""
    reporter = reporter or Silent()
    began = time.perf_counter()
    network = new_network(sequences, settings)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=settings.learning_rate, betas=(0.9, settings.beta2), fused=True
    )
    validated = settings.protocol == "validated"
    state = run.checkpoint() or {"epoch": 0, "best": -1.0, "best_epoch": 0, "seconds": 0.0, "best_network": {}}
    if state["epoch"]:
        _load(network, state["network"], run)
        optimizer.load_state_dict(state["optimizer"])
    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        if validated and epoch - state["best_epoch"] > settings.patience:
            break
        loss = _epoch(sequences, settings, network, optimizer, epoch, reporter)
        # Without a validation item the last epoch is the best by definition.
        score = evaluate(network, sequences, settings, "validation")[STOPS_ON] if validated else float(epoch)
        best = score > state["best"]
        if best:
            copy = {name: value.clone() for name, value in network.state_dict().items()}
            state |= {"best": score, "best_epoch": epoch, "best_network": copy}
        state |= {"epoch": epoch, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
        state["seconds"] += time.perf_counter() - began
        began = time.perf_counter()
        run.save_checkpoint(state)
        reporter.epoch(epoch, loss, score, best)
    _load(network, state["best_network"], run)
    result = {
        "name": sequences.name,
        "settings": asdict(settings),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs": state["epoch"],
        "best_epoch": state["best_epoch"],
        "seconds": round(state["seconds"], 1),
        "baselines": {
            by.__name__: measures(counted_ranks(by(sequences, settings.protocol), sequences, "test", settings.protocol))
            for by in (popularity, transitions)
        },
        "validation": evaluate(network, sequences, settings, "validation") if validated else None,
        "test": evaluate(network, sequences, settings, "test"),
    }
    run.save_result(result)
    return result


def restore(sequences: Sequences, settings: NextItemSettings, run: Run) -> Network:
    """The best epoch's network so far. Raises RunError before the first epoch is done."""
    state = run.checkpoint()
    if state is None:
        raise RunError(f"{run.path}: no epoch is finished yet; run `train` on it")
    network = new_network(sequences, settings)
    _load(network, state["best_network"], run)
    return network


def new_network(sequences: Sequences, settings: NextItemSettings) -> Network:
    """A network as it is before the first epoch."""
    torch.manual_seed(settings.seed)
    return Network(settings, len(sequences.item_ids) - 1)


def evaluate(network: Network, sequences: Sequences, settings: NextItemSettings, part: Part) -> dict[str, float]:
    """HR and NDCG of a part over the full catalogue."""
    return measures(model_ranks(network, sequences, part, settings.protocol, settings.max_length))


def _epoch(
    sequences: Sequences,
    settings: NextItemSettings,
    network: Network,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    reporter: Reporter,
) -> float:
    """One pass over the members. Returns the mean loss of its steps."""
    rng = np.random.default_rng((settings.seed, epoch))
    torch.manual_seed(hash((settings.seed, epoch)) & 0x7FFF_FFFF)  # ints hash to the same number in every process
    network.train()
    steps = -(-len(sequences.members("train", settings.protocol)) // settings.batch_size)
    total = 0.0
    for done, (batch, negatives) in enumerate(_batches(sequences, settings, rng)):
        loss_of = bce if settings.loss == "bce" else sampled_softmax
        loss = loss_of(network.rows(batch), network.table(), batch.targets, negatives)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item()
        reporter.step(epoch, done + 1, steps, total / (done + 1))
    return total / steps


def _batches(
    sequences: Sequences, settings: NextItemSettings, rng: np.random.Generator
) -> Iterator[tuple[Batch, Tensor]]:
    """Every member once, in a drawn order, with negatives: [N] for `bce`, [N, 128] for `sampled_softmax`."""
    members = rng.permutation(sequences.members("train", settings.protocol))
    ends = sequences.ends("train", settings.protocol)
    unseen = Unseen(sequences) if settings.loss == "bce" else None
    for start in range(0, len(members), settings.batch_size):
        chosen = members[start : start + settings.batch_size]
        window = windows(sequences, chosen, ends[chosen], settings.max_length)
        if unseen is not None:
            negatives = unseen.draw(np.repeat(chosen, window.lengths), rng)
        else:
            negatives = rng.integers(1, len(sequences.item_ids), (len(window.items), NEGATIVES))
        yield to_batch(window), torch.from_numpy(negatives)


def _load(network: Network, weights: dict[str, Tensor], run: Run) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{run.path} was trained by another version of the network; start over with --fresh") from error
