"""The model's benchmark, at toy sizes: what it reports, never how fast it is."""

from __future__ import annotations

import torch

from loadtests.bench_model import Effort, both_modes, encoding_at_hand
from loadtests.bench_shapes import ReferenceShape

TINY = ReferenceShape("tiny", history=8, candidates=128, embedding_dim=16)
ONCE = Effort(rounds=1, repeats=1)


def test_both_modes_report_shares_and_ratios() -> None:
    """Rows 1 and 2 hold a share for each mode and the two ratios, and the FLOP ratio is the counted one."""
    with torch.inference_mode():
        results = {result.row: result for result in both_modes(TINY, ONCE)}

    assert list(results) == ["1 tiny", "2 tiny", "2 tiny times", "2 tiny flops"]
    assert all(result.value > 0 for result in results.values())
    assert 1 < results["2 tiny flops"].value < TINY.candidates


def test_encoding_at_hand_is_one_row() -> None:
    """Row 5 is a ratio of the two times with its target."""
    with torch.inference_mode():
        result = encoding_at_hand(TINY, 0.82, ONCE, microbatch=64)

    assert result.row == "5 tiny"
    assert result.target == 0.82
    assert result.value > 0
