"""The oracle itself, on cases small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import torch

from model.bundle import GoldenCase
from model.config import RankerConfig
from model.ranker import Ranker
from model.reference import reference_logits


def test_one_head_one_action_by_hand() -> None:
    """With identity projections and everything else switched off the output is the softmax mean of sink and action."""
    config = RankerConfig(
        actions=1, tasks=1, embedding_dim=2, layers=1, heads=1, ffn_dim=1, max_history=2, slack=1, meta_dim=0,
        cross_layers=0, head_dim=1,
    )  # fmt: skip
    state = {name: torch.zeros_like(value) for name, value in Ranker(config).state_dict().items()}
    identity = torch.eye(2)
    state["encoder.layers.0.attention_norm.weight"] = torch.ones(2)
    state["encoder.layers.0.query.weight"] = identity
    state["encoder.layers.0.key_value.weight"] = torch.cat([identity, identity])
    state["encoder.layers.0.output.weight"] = identity
    state["encoder.layers.0.sink"] = torch.tensor([[[[0.0, 0.0]]], [[[5.0, 5.0]]]])
    state["head.hidden.weight"] = torch.tensor([[0.0, 0.0, 1.0, 0.0]])  # reads the candidate embedding, not the row
    state["head.norm.weight"] = torch.ones(2)
    state["head.logits.weight"] = torch.tensor([[2.0]])
    state["head.logits.bias"] = torch.tensor([0.25])
    case = GoldenCase(
        embeddings=np.array([[3.0, -3.0]], np.float32),
        actions=np.zeros(1, np.int64),
        timestamps=np.zeros(1, np.int64),
        candidates=np.array([[1.0, -1.0]], np.float32),
        features=np.zeros((1, 0), np.float32),
        context=np.zeros(0, np.float32),
        meta=np.zeros(0, np.float32),
        request_time=0,
        logits=np.zeros((1, 1), np.float32),
    )

    assert math.isclose(reference_logits(state, config, case)[0, 0], 2.0 * 1.0 + 0.25)

    state["head.hidden.weight"] = torch.tensor([[1.0, 0.0, 0.0, 0.0]])  # now the row: norm([1 + a, −1 + b])
    unit = 1 / math.sqrt(1 + 1e-5 / 9)  # layer norm of (3, −3)
    query = 1 / math.sqrt(1 + 1e-5)  # layer norm of (1, −1)
    weight = math.exp(2 * unit * query / math.sqrt(2)) / (1 + math.exp(2 * unit * query / math.sqrt(2)))
    row = np.array([1.0, -1.0]) + (1 - weight) * np.array([5.0, 5.0]) + weight * unit * np.array([1.0, -1.0])
    normed = (row - row.mean()) / math.sqrt(((row - row.mean()) ** 2).mean() + 1e-5)

    assert math.isclose(reference_logits(state, config, case)[0, 0], 2.0 * normed[0] + 0.25, rel_tol=1e-6)
