"""What every data set becomes: one value of numpy arrays with logs, impressions and as-of features.

An impression is one request of the past: a member, a time, the candidates that were shown and what came of each. This
module does not know files, torch, or how impressions are batched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from model.bundle import Surface

I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class DatasetError(Exception):
    """Data that cannot be used. `path` is the file, `line` its line counted from 1 (0: the file as a whole)."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class AsOfTable(Protocol):
    """Values of items as they were known strictly before a time.

    items: [S] int64 rows of the item table · times: [S] int64 ms → [S, width] float32
    """

    def __call__(self, items: I64, times: I64) -> F32: ...


@dataclass(frozen=True, eq=False)
class ActionLog:
    """Every member's actions, concatenated by member, oldest first.

    offsets: [M + 1] int64, member m owns offsets[m]:offsets[m + 1] · items, actions: [A] int64 · times: [A] int64 ms
    """

    offsets: I64
    items: I64
    actions: I64
    times: I64

    def earlier(self, member: I64, time: I64) -> I64:
        """How many actions each member had strictly before a time. member, time: [N] int64 → [N] int64."""
        # One search over (member, time) pairs packed into one ascending key.
        low = min(int(self.times.min(initial=0)), int(time.min(initial=0)))
        span = max(int(self.times.max(initial=0)), int(time.max(initial=0))) - low + 1
        owner = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        keys = owner * span + (self.times - low)
        return np.searchsorted(keys, member * span + (time - low), side="left") - self.offsets[member]


@dataclass(frozen=True, eq=False)
class Impressions:
    """N requests with S candidates in all, in order of time.

    member: [N] int64 · request_time: [N] int64 ms · history_end: [N] int64, the member's actions strictly before
    request_time · candidate_offsets: [N + 1] int64 · candidate_items: [S] int64 · features: [S, F] float32 ·
    context: [N, G] float32 · labels: [S, K] float32, 0 or 1
    """

    member: I64
    request_time: I64
    history_end: I64
    candidate_offsets: I64
    candidate_items: I64
    features: F32
    context: F32
    labels: F32

    def __len__(self) -> int:
        return len(self.member)

    @property
    def candidate_times(self) -> I64:
        """[S] int64 ms: the request time of each candidate."""
        return np.repeat(self.request_time, np.diff(self.candidate_offsets))

    def take(self, rows: I64) -> Impressions:
        """The impressions of `rows` ([n] int64), in that order."""
        lengths = np.diff(self.candidate_offsets)[rows]
        offsets = offsets_of(lengths)
        flat = np.repeat(self.candidate_offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Impressions(
            self.member[rows],
            self.request_time[rows],
            self.history_end[rows],
            offsets,
            self.candidate_items[flat],
            self.features[flat],
            self.context[rows],
            self.labels[flat],
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """One surface of one data set. Surfaces of the same data set share `item_ids`, `actions`, `member_ids` and `log`.

    item_ids[0] is the unknown item. `features_at` gives the candidate features, `popularity_at` the smoothed share of
    positives of each task ([S, K]); item_bids: [items] float32, the price of a click (ads only).
    """

    name: str
    surface: Surface
    item_ids: tuple[str, ...]
    actions: tuple[str, ...]
    tasks: tuple[str, ...]
    feature_names: tuple[str, ...]
    context_names: tuple[str, ...]
    member_ids: tuple[str, ...]
    log: ActionLog
    splits: Mapping[Split, Impressions]
    features_at: AsOfTable
    popularity_at: AsOfTable
    item_bids: F32 | None = None

    def __post_init__(self) -> None:
        """Refuse a data set that would leak the future: histories hold exactly the strictly earlier actions."""
        if self.item_ids[:1] != ("",):
            raise ValueError("item row 0 must be the unknown item, with the empty id")
        for split in SPLITS:
            part = self.splits[split]
            if not np.array_equal(part.history_end, self.log.earlier(part.member, part.request_time)):
                raise ValueError(f"{split}: a history is not exactly the actions strictly before its request")
            if part.labels.shape != (len(part.candidate_items), len(self.tasks)):
                raise ValueError(f"{split}: labels are {part.labels.shape}")
            if part.features.shape != (len(part.candidate_items), len(self.feature_names)):
                raise ValueError(f"{split}: features are {part.features.shape}")
            if part.context.shape != (len(part), len(self.context_names)):
                raise ValueError(f"{split}: context is {part.context.shape}")


def offsets_of(lengths: I64) -> I64:
    """[n] lengths → [n + 1] offsets of the concatenation."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def action_log(members: int, member: I64, items: I64, actions: I64, times: I64) -> ActionLog:
    """Actions in any order → each member's log, oldest first; actions of one instant keep the order given."""
    order = np.lexsort((times, member))
    offsets = offsets_of(np.bincount(member, minlength=members))
    return ActionLog(offsets, items[order], actions[order], times[order])


def split_by_time(impressions: Impressions, train: float = 0.8, validation: float = 0.1) -> dict[Split, Impressions]:
    """Cut at two instants: every training request is earlier than every validation request, and so on."""
    order = np.argsort(impressions.request_time, kind="stable")
    times = impressions.request_time[order]
    first = np.searchsorted(times, times[int(len(times) * train)], side="left")
    second = np.searchsorted(times, times[int(len(times) * (train + validation))], side="left")
    cuts = {"train": order[:first], "validation": order[first:second], "test": order[second:]}
    return {split: impressions.take(cuts[split]) for split in SPLITS}
