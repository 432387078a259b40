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
