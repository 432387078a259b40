"""Stochastic length: training on parts of long histories (Zhai et al. 2024, §3.2, eq. 4, and appendix F.1).

With N the longest history, one of n actions is kept whole if n ≤ N^(α/2), and with probability N^α / n² if it is
longer; otherwise N^(α/2) of its actions are kept. Attention over it then costs 2 N^α at most in the mean, instead of
N². α is in (1, 2], and with 2 every history is whole.

What is kept is a history of its own, in order: positions count what was kept, as eq. 4 numbers its subsequence and as
the served interface has it, while the times, the request's too, are the true ones. Positions after N^(α/2) are learned
from the histories that were kept whole. Only training uses this. It does not know data sets or models.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.datasets.base import I64
from model.datasets.batches import Batch

_LEAST_WEIGHT = 1e-12  # an action that alone is old would weigh nothing, and could not be told from padding


def stochastic_lengths(lengths: I64, longest: int, alpha: float, rng: np.random.Generator) -> I64:
    """How many actions of each history to train on. lengths: [N] int64, none above `longest` → [N] int64."""
    short = int(longest ** (alpha / 2.0))
    whole = longest**alpha / np.maximum(lengths, 1).astype(np.float64) ** 2
    cut = (lengths > short) & (rng.random(len(lengths)) >= whole)
    return np.where(cut, short, lengths)


def thinned(batch: Batch, lengths: I64, rng: np.random.Generator) -> Batch:
    """The batch with at most `lengths` ([B] int64) actions of each history, chosen by `recency_weights`."""
    mask = batch.history_mask
    if bool((mask.sum(axis=1) <= lengths).all()):
        return batch
    # The first to ring of clocks at these rates: a weighted draw without replacement (Efraimidis & Spirakis 2006).
    rings = np.where(mask, rng.standard_exponential(mask.shape) / recency_weights(batch.history_times, mask), np.inf)
    last = np.clip(lengths, 1, mask.shape[1])[:, None] - 1
    kept = mask & (rings <= np.take_along_axis(np.sort(rings, axis=1), last, axis=1))
    columns = np.argsort(~kept, axis=1, kind="stable")[:, : int(kept.sum(axis=1).max())]  # oldest first, as before
    kept = np.take_along_axis(kept, columns, axis=1)

    def part(values: I64) -> I64:
        return np.where(kept, np.take_along_axis(values, columns, axis=1), 0)

    return batch._replace(
        history_items=part(batch.history_items),
        history_actions=part(batch.history_actions),
        history_times=part(batch.history_times),
        history_mask=kept,
    )


def recency_weights(times: I64, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 − f / Σ f, where f is how long before its history's last action an action was (appendix F.1): of the three
    choices compared there (the latest, at random, so weighted) the one of the best normalised entropy.

    times: [B, T] int64 ms, mask: [B, T] bool → [B, T] float64 above 0
    """
    lowest = np.iinfo(np.int64).min
    last = np.where(mask, times, lowest).max(axis=1, keepdims=True, initial=lowest)
    age = np.where(mask, last - times, 0).astype(np.float64)
    weights: NDArray[np.float64] = np.maximum(
        1.0 - age / np.maximum(age.sum(axis=1, keepdims=True), 1.0), _LEAST_WEIGHT
    )
    return weights
