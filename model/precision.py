"""Reduced precision: a trained ranker becomes one that multiplies in bfloat16 and is otherwise the same.

What is reduced: the products of the layers and of the head's cross layers, attention, and so the keys and values of an
encoded history, which take half the room. What stays float32: the rows that layers add to, norms, sums inside products
and attention, the head's hidden layer and the logits (reduced, the hidden layer alone would cost more accuracy than the
rest together for 2 % of the time).

It pays on processors with bfloat16 matrix units (AMX): 0.60 of the float32 time at T=256, C=512, d=128, nothing at half
that width. Elsewhere it is right but slower than float32, so float32 is the default. int8 is not offered: a scale for
the whole tensor makes a score depend on the other candidates of its request, one for each row costs more than int8
saves, and fixed ones lose too much accuracy.

It does not know files, training or how much accuracy was lost. (No `from __future__ import annotations`: TorchScript
reads these annotations.)
"""

import copy
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.encoders.transformer import TransformerEncoder
from model.heads import CrossLayer
from model.linear import ReluLinear
from model.ranker import Ranker

Precision = Literal["fp32", "bf16"]

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "bf16": 3e-2}
"""How far a logit may be from the trained ranker's, relative to max(1, |logit|).

A product over other rows may be summed in another order, and a sum that falls on the other side of a rounding is 0.4 %
off: what both modes give for one request differs in bfloat16 as much as either differs from float32, by up to 0.004 on
trained rankers. The tolerance is for wilder ones.
"""

PRODUCTS = {"query": False, "key_value": False, "output": True, "ffn_in": False, "ffn_out": True}
"""A layer's products, and whether a sum reads them (float32) or another product (bfloat16)."""


class ReducedLinear(nn.Module):
    """rows [N, in] f32 or bf16 → [N, out], f32 if `wide` else bf16."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool, wide: bool) -> None:
        """weight [out, in] f32, bias [out] f32."""
        super().__init__()
        self.register_buffer("weight", weight.detach().to(torch.bfloat16))
        self.register_buffer("bias", bias.detach().clone())
        self.activation = "relu" if relu else "none"
        self.wide = wide

    def forward(self, rows: Tensor) -> Tensor:
        rows = rows.to(torch.bfloat16)
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            # Bias and ReLU inside the product: as operations of their own they take longer than the product does.
            out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, self.activation, [], "")
        else:  # slower than float32, but any machine can load the bundle
            out = F.linear(rows.float(), self.weight.float(), self.bias)
            if self.activation == "relu":
                out = F.relu_(out)
            out = out.to(torch.bfloat16)
        return out.float() if self.wide else out


class ReducedCrossLayer(nn.Module):
    """A `CrossLayer` whose product is reduced: first, crossed [N, width + padding] f32 → the same."""

    def __init__(self, layer: CrossLayer) -> None:
        super().__init__()
        pad = layer.padding
        weight, bias = F.pad(layer.weight, (0, pad, 0, pad)), F.pad(layer.bias, (0, pad))
        self.linear = ReducedLinear(weight, bias, relu=False, wide=True)

    def forward(self, first: Tensor, crossed: Tensor) -> Tensor:
        product: Tensor = self.linear(crossed)
        return product.mul_(first).add_(crossed)  # in place: no further tensor to fill


def at_precision(ranker: Ranker, precision: Precision) -> Ranker:
    """The ranker itself, or a copy of it that computes at `precision`. Raises ValueError for what is not offered."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
    if precision == "fp32":
        return ranker
    reduced = copy.deepcopy(ranker).eval()
    if not isinstance(reduced.encoder, TransformerEncoder):
        raise ValueError(f"precision {precision} is offered for Transformers only")
    for layer in reduced.encoder.layers:
        for name, wide in PRODUCTS.items():
            setattr(layer, name, _reduced(getattr(layer, name), wide=wide))
        layer.sink = nn.Parameter(_tensor(layer.sink).to(torch.bfloat16), requires_grad=False)
    reduced.head.cross = nn.ModuleList([ReducedCrossLayer(layer) for layer in _cross_layers(reduced)])
    return reduced


def _reduced(linear: Any, *, wide: bool) -> ReducedLinear:
    return ReducedLinear(linear.weight, linear.bias, relu=isinstance(linear, ReluLinear), wide=wide)


def _tensor(value: Tensor | nn.Module) -> Tensor:
    assert isinstance(value, Tensor)
    return value.detach()


def _cross_layers(ranker: Ranker) -> list[CrossLayer]:
    return [layer for layer in ranker.head.cross if isinstance(layer, CrossLayer)]
