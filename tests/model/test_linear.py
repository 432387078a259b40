"""The served linear layer."""

from __future__ import annotations

import torch
from torch import nn

from model.linear import Linear, ReluLinear


def test_is_the_library_layer() -> None:
    """Same parameters, same outputs, same gradients as `nn.Linear`, for no rows at all too."""
    torch.manual_seed(0)
    ours, theirs = Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    rows = torch.randn(7, 5)

    ours(rows).square().sum().backward()
    theirs(rows).square().sum().backward()

    torch.testing.assert_close(ours(rows), theirs(rows))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    assert ours(rows[:0]).shape == (0, 3)


def test_freezing_leaves_no_turn_of_the_weight() -> None:
    """The turned weight is a constant of the frozen artifact: nothing is copied while serving."""
    frozen = torch.jit.freeze(torch.jit.script(Linear(5, 3).eval()))

    operations = {node.kind() for node in frozen.graph.nodes()}

    assert operations == {"prim::Constant", "aten::mm", "aten::add_"}


def test_a_relu_linear_is_a_linear_under_a_relu() -> None:
    """Same parameters, and what is negative becomes 0; its gradient too."""
    torch.manual_seed(0)
    ours, plain = ReluLinear(5, 3), Linear(5, 3)
    plain.load_state_dict(ours.state_dict())
    rows = torch.randn(7, 5)

    ours(rows).square().sum().backward()
    plain(rows).relu().square().sum().backward()

    torch.testing.assert_close(ours(rows), plain(rows).relu())
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
