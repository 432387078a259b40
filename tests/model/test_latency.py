"""Request times: every ranker is timed at the asked shape, and ratios are to the first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import Encoder, RankerConfig
from model.latency import request_latencies

CONFIG = RankerConfig(actions=3, tasks=2, features=2, context=1, embedding_dim=16, ffn_dim=64, head_dim=16)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_ranker_of_many_more_layers_takes_longer() -> None:
    """By far enough that no neighbour on the machine can hide it."""
    times = request_latencies({"two": CONFIG, "forty": replace(CONFIG, layers=40)}, 32, 64, rounds=5)

    assert times["two"].ratio == 1.0
    assert times["forty"].ratio > 3.0
    assert times["forty"].seconds > times["two"].seconds


@pytest.mark.parametrize("history", [0, 64])
@pytest.mark.parametrize("encoder", ["transformer", "causal_transformer", "hstu"])
def test_every_encoder_is_timed_at_any_length(encoder: Encoder, history: int) -> None:
    """An empty history and the longest one."""
    times = request_latencies({"it": replace(CONFIG, encoder=encoder)}, history, 8, rounds=1)

    assert times["it"].seconds > 0.0
