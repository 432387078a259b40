"""The count of required operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from loadtests.bench_flops import amortized_flops, encode_flops, non_amortized_flops, score_flops
from loadtests.bench_shapes import LARGE, LONG, SMALL
from model.config import RankerConfig
from model.ranker import Ranker


@pytest.mark.parametrize(("history", "candidates"), [(7, 5), (0, 3), (32, 1)])
def test_counts_what_the_library_counts(history: int, candidates: int) -> None:
    """torch's own counter of matrix products agrees, where no head width is widened to a cache line.

    It knows the processor's fused attention kernel not at all, and so counts the plain one.
    """
    config = RankerConfig(
        actions=2, tasks=3, features=8, context=0, embedding_dim=16, layers=3, heads=2, ffn_dim=24, max_history=32,
        meta_dim=8, head_dim=12,
    )  # fmt: skip
    assert config.head_inputs % 16 == 0
    ranker = Ranker(config).eval()
    encoded: Any = None

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as encoding:
        encoded = ranker.encode_history(
            torch.randn(1, history, 16),
            torch.zeros(1, history, dtype=torch.long),
            torch.zeros(1, history, dtype=torch.long),
            torch.ones(1, history, dtype=torch.bool),
        )
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as scoring:
        ranker.score_candidates(
            encoded,
            torch.randn(1, candidates, 16),
            torch.randn(1, candidates, 8),
            torch.randn(1, 0),
            torch.randn(1, 8),
            torch.zeros(1, dtype=torch.long),
        )

    assert encode_flops(config, history) == encoding.get_total_flops()
    assert score_flops(config, history, candidates) == scoring.get_total_flops()


def test_amortizing_saves_the_history_of_all_candidates_but_one() -> None:
    """The two modes differ by C − 1 encodings, and are the same for a single candidate."""
    for shape in (SMALL, LARGE, LONG):
        config, length, count = shape.config, shape.history, shape.candidates
        saved = (count - 1) * encode_flops(config, length)

        assert non_amortized_flops(config, length, count) - amortized_flops(config, length, count) == saved
        assert non_amortized_flops(config, length, 1) == amortized_flops(config, length, 1)
