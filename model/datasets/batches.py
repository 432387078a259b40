"""Impressions → padded arrays, B requests at a time, with the anchored window that serving reads.

It does not know torch, embeddings, or which data set the impressions come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.bundle import window_start
from model.datasets.base import F32, I64, Dataset, Impressions

# Shuffled impressions are sorted by history length inside pools of so many batches: little padding, still random.
POOL_BATCHES = 16


class Batch(NamedTuple):
    """B requests, padded on the right to the longest history T and the most candidates C among them.

    history_items, history_actions, history_times: [B, T] int64 (times in ms), oldest first · history_mask: [B, T] bool,
    True = real · candidate_items: [B, C] int64 · candidate_mask: [B, C] bool · features: [B, C, F] float32 ·
    context: [B, G] float32 · request_time: [B] int64 ms · labels: [B, C, K] float32
    """

    history_items: I64
    history_actions: I64
    history_times: I64
    history_mask: NDArray[np.bool_]
    candidate_items: I64
    candidate_mask: NDArray[np.bool_]
    features: F32
    context: F32
    request_time: I64
    labels: F32


def gather(dataset: Dataset, impressions: Impressions, rows: I64, max_history: int, slack: int) -> Batch:
    """The batch of `rows` ([B] int64). Each history is the window that the service would read at that moment."""
    log = dataset.log
    end = impressions.history_end[rows]
    lengths = window_lengths(end, max_history, slack)
    history, history_mask = _ragged(log.offsets[impressions.member[rows]] + end - lengths, lengths)
    first = impressions.candidate_offsets[rows]
    shown, shown_mask = _ragged(first, impressions.candidate_offsets[rows + 1] - first)

    def past(values: I64) -> I64:
        return np.where(history_mask, values[history], 0) if history.size else np.zeros_like(history)

    return Batch(
        past(log.items),
        past(log.actions),
        past(log.times),
        history_mask,
        np.where(shown_mask, impressions.candidate_items[shown], 0),
        shown_mask,
        impressions.features[shown] * shown_mask[..., None],
        impressions.context[rows],
        impressions.request_time[rows],
        impressions.labels[shown] * shown_mask[..., None],
    )


def window_lengths(totals: I64, max_history: int, slack: int) -> I64:
    """How many actions the window holds of a log of each total. totals: [N] int64 → [N] int64."""
    starts = [window_start(int(total), max_history, slack) for total in totals]
    return totals - np.array(starts, dtype=np.int64)


def shuffled(lengths: I64, size: int, rng: np.random.Generator) -> list[I64]:
    """Every row once, in batches of `size` rows of similar history length, in random order. lengths: [N] int64."""
    order = rng.permutation(len(lengths))
    batches: list[I64] = []
    for begin in range(0, len(order), size * POOL_BATCHES):
        pool = order[begin : begin + size * POOL_BATCHES]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[at : at + size] for at in range(0, len(pool), size)]
    return [batches[at] for at in rng.permutation(len(batches))]


def ordered(impressions: Impressions, size: int) -> Iterator[I64]:
    """Every impression once, in batches of `size` rows, in the order given."""
    for begin in range(0, len(impressions), size):
        yield np.arange(begin, min(begin + size, len(impressions)))


def _ragged(start: I64, length: I64) -> tuple[I64, NDArray[np.bool_]]:
    """Rows start:start+length, padded on the right → indices [n, longest] (0 where padded) and their mask."""
    steps = np.arange(int(length.max(initial=0)))
    mask = steps[None, :] < length[:, None]
    return np.where(mask, start[:, None] + steps[None, :], 0), mask
