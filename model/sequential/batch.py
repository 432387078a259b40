"""Batch: windows as tensors, packed. Linear maps and losses run over the N real rows, only attention pads them.

Sequences are short and of very unequal length (Amazon: mean 6 of at most 50), so a padded batch is mostly padding. It
does not know models.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.sequential.sequences import Windows


class Batch(NamedTuple):
    """B members' windows. N rows in all, L the longest.

    lengths: [B] i64 · items, targets: [N] i64 · times, target_times: [N] i64 ms · steps: [N] i64, from the window's
    first row · row_lengths: [N] i64, the length of the window that a row is in · slots: [N] i64, a row's place in the
    padded [B · L]
    """

    lengths: Tensor
    items: Tensor
    targets: Tensor
    times: Tensor
    target_times: Tensor
    steps: Tensor
    row_lengths: Tensor
    slots: Tensor

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    def padded(self, rows: Tensor) -> Tensor:
        """[N, …] → [B, L, …], zeros on the right."""
        members, rest = len(self.lengths), rows.shape[1:]
        flat = rows.new_zeros(members * self.longest, *rest).index_copy(0, self.slots, rows)
        return flat.view(members, self.longest, *rest)

    def packed(self, padded: Tensor) -> Tensor:
        """[B, L, …] → [N, …]: the inverse of `padded`."""
        return padded.flatten(0, 1).index_select(0, self.slots)

    def last(self, rows: Tensor) -> Tensor:
        """[N, …] → [B, …]: each window's last row."""
        return rows.index_select(0, self.lengths.cumsum(0) - 1)


def to_batch(windows: Windows) -> Batch:
    """numpy → torch."""
    row_lengths = np.repeat(windows.lengths, windows.lengths)
    slots = np.repeat(np.arange(len(windows.lengths)), windows.lengths) * windows.lengths.max() + windows.steps
    return Batch(
        *(
            torch.from_numpy(values)
            for values in (
                windows.lengths,
                windows.items,
                windows.targets,
                windows.times,
                windows.target_times,
                windows.steps,
                row_lengths,
                slots,
            )
        )
    )
