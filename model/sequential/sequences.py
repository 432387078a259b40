"""Members' whole sequences of items, and how leave-one-out cuts them. It does not know files, torch or models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from model.datasets.base import I64

Part = Literal["train", "validation", "test"]
Protocol = Literal["validated", "fixed"]
"""How a data set is cut and who is ranked (papers: S3-Rec 2020, HSTU 2024).

    validated   the last item is the test, the last but one the validation, on which training stops early; ranked is
                every item that the member never had before
    fixed       the last item is the test, everything before is trained on for a fixed number of epochs; ranked is every
                item that is not in the window that the model reads
"""
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


@dataclass(frozen=True, eq=False)
class Sequences:
    """M members' items, concatenated by member, oldest first.

    item_ids: by row; row 0 is padding, with the empty id · offsets: [M + 1] int64, member m owns
    offsets[m]:offsets[m + 1] · items: [A] int64 rows · times: [A] int64 ms, all zero where nobody recorded them
    """

    name: str
    item_ids: tuple[str, ...]
    offsets: I64
    items: I64
    times: I64

    def ends(self, part: Part, protocol: Protocol) -> I64:
        """[M] int64: where in `items` the part's last target of each member ends (exclusive)."""
        held_out = {"test": 0, "validation": 1, "train": 2 if protocol == "validated" else 1}[part]
        return np.maximum(self.offsets[1:] - held_out, self.offsets[:-1])

    def members(self, part: Part, protocol: Protocol) -> I64:
        """Members with at least one item before a target in the part."""
        return np.flatnonzero(self.ends(part, protocol) - self.offsets[:-1] >= 2)


class Windows(NamedTuple):
    """B members' windows, without padding: N rows, member by member, oldest first.

    members: [B] · lengths: [B], rows of each · items, targets: [N], an item and the one that came next · times,
    target_times: [N] ms · steps: [N], how many rows of the window are before this one
    """

    members: I64
    lengths: I64
    items: I64
    targets: I64
    times: I64
    target_times: I64
    steps: I64


def windows(sequences: Sequences, members: I64, ends: I64, max_length: int) -> Windows:
    """The last `max_length` pairs (item, next item) before each member's end. members, ends: [B] int64."""
    lengths = np.minimum(ends - sequences.offsets[members] - 1, max_length)
    steps = ranges(lengths)
    rows = np.repeat(ends - lengths - 1, lengths) + steps
    return Windows(
        members,
        lengths,
        sequences.items[rows],
        sequences.items[rows + 1],
        sequences.times[rows],
        sequences.times[rows + 1],
        steps,
    )


def ranges(lengths: I64) -> I64:
    """0 … length − 1 for each length, concatenated."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
