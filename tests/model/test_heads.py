"""The ranking head."""

from __future__ import annotations

from collections.abc import Callable

import torch

from model.bundle import Surface
from model.config import RankerConfig
from model.heads import CrossLayer, RankingHead


def test_inputs_are_normalised_inside(config: Callable[[Surface], RankerConfig]) -> None:
    """Raw features through fitted constants equal normalised features through none; a constant input is harmless."""
    torch.manual_seed(0)
    feed = config("feed")
    plain, fitted = RankingHead(feed).eval(), RankingHead(feed).eval()
    fitted.load_state_dict(plain.state_dict())
    mean, scale = torch.tensor([3.0, -1.0]), torch.tensor([10.0, 0.0])
    fitted.set_normalisation(mean, scale, torch.tensor([12.0]), torch.tensor([6.0]))
    output, embedding, meta = torch.randn(1, 4, 16), torch.randn(1, 4, 16), torch.randn(1, 4)
    features, context = torch.randn(1, 4, 2), torch.randn(1, 1)

    raw = fitted(output, embedding, features * torch.tensor([10.0, 1.0]) + mean, context * 6 + 12, meta)

    torch.testing.assert_close(raw, plain(output, embedding, features, context, meta), rtol=1e-4, atol=1e-5)


def test_every_part_reaches_the_logits(config: Callable[[Surface], RankerConfig]) -> None:
    """Gradients flow back to output, embedding, features, context and meta embedding."""
    torch.manual_seed(0)
    parts = [torch.randn(shape, requires_grad=True) for shape in ((1, 4, 16), (1, 4, 16), (1, 4, 2), (1, 1), (1, 4))]

    RankingHead(config("feed"))(*parts).sum().backward()

    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in parts)


def test_cross_layer_pads_without_a_trace() -> None:
    """On rows widened to a cache line the layer is x0 * (W x + b) + x (DCN-v2, eq. 1), and the padding stays 0."""
    torch.manual_seed(0)
    layer = CrossLayer(21)
    first, crossed = torch.randn(2, 4, 21)

    padded = layer(torch.nn.functional.pad(first, (0, 11)), torch.nn.functional.pad(crossed, (0, 11)))

    expected = first * torch.nn.functional.linear(crossed, layer.weight, layer.bias) + crossed
    torch.testing.assert_close(padded[:, :21], expected)
    assert (padded[:, 21:] == 0).all()
