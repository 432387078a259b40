"""Linear: x Wᵀ + b over rows, laid out for serving. It does not know what the rows are.

(No `from __future__ import annotations`: TorchScript reads these annotations.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """rows [N, in] f32 → [N, out] f32, the same function and parameters as `nn.Linear`.

    Freezing turns the weight once and for all: a GEMM reads [in, out] about 5 % faster than the [out, in] that is
    stored. The bias is added in place, since passing over one more [N, out] tensor costs more than the addition.
    """

    def forward(self, rows: Tensor) -> Tensor:
        return product(rows, self.weight, self.bias)


class ReluLinear(nn.Linear):
    """max(0, x Wᵀ + b): one module, so that reduced precision can take the ReLU into the product."""

    def forward(self, rows: Tensor) -> Tensor:
        return F.relu_(product(rows, self.weight, self.bias))


def product(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """rows [N, in], weight [out, in], bias [out] → [N, out]."""
    turned = weight.t().clone(memory_format=torch.contiguous_format)  # [in, out]
    return torch.mm(rows, turned).add_(bias)
