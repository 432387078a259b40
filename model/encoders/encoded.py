"""EncodedHistory: what an encoder keeps of a history, as a value. It does not know how it came about.

(No `from __future__ import annotations`: TorchScript reads these annotations.)
"""

from typing import NamedTuple

from torch import Tensor


class EncodedHistory(NamedTuple):
    """Everything that scoring, and extending, need of a history: passed on and never kept or changed by the ranker.

    keys, values: one [B, H, S, D/H] a layer, f32 or the ranker's reduced precision. S = T actions, with the cold-start
        key before them in softmax encoders, and with what was padded among them
    mask: [B, S] bool, True = real (the cold-start key always is)
    timestamps: [B, T] i64 ms, of the actions
    lengths: [B] i64, real actions
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    timestamps: Tensor
    lengths: Tensor


EncodedParts = tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]
"""The same without names, as an artifact gives and takes it: to hand a named tuple to Python, torch makes a new class
in each call, 0.1 ms of Python."""


def parts_of(encoded: EncodedHistory) -> EncodedParts:
    return encoded.keys, encoded.values, encoded.mask, encoded.timestamps, encoded.lengths


def of_parts(parts: EncodedParts) -> EncodedHistory:
    return EncodedHistory(parts[0], parts[1], parts[2], parts[3], parts[4])
