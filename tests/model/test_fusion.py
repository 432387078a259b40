"""The comparison set behaves as its papers say, so that comparing with it means something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from model.bundle import Surface
from model.config import Fusion, RankerConfig
from model.fusion import build
from model.ranker import Ranker

FUSIONS = get_args(Fusion)


def make(config: RankerConfig, fusion: str) -> nn.Module:
    """A fusion with weights large enough that dependence shows."""
    torch.manual_seed(0)
    ranker = build(replace(config, fusion=fusion))
    for parameter in ranker.parameters():
        nn.init.normal_(parameter, std=0.2)
    return ranker.eval()


def inputs(config: RankerConfig, length: int, count: int, padding: int = 0) -> list[Tensor]:
    """One request for one member, in the order of `forward`."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    steps = length + padding
    return [
        normal(1, steps, config.embedding_dim),
        torch.ones(1, steps, dtype=torch.long),
        torch.zeros(1, steps, dtype=torch.long),
        torch.arange(steps)[None] < length,
        normal(1, count, config.embedding_dim),
        normal(1, count, config.features),
        normal(1, config.context),
        normal(1, config.meta_dim),
        torch.zeros(1, dtype=torch.long),
    ]


@pytest.fixture
def feed(config: Callable[[Surface], RankerConfig]) -> RankerConfig:
    """The tiny feed config."""
    return config("feed")


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("length", [0, 1, 3, 11])
@torch.inference_mode()
def test_every_fusion_scores_each_candidate_alone(feed: RankerConfig, fusion: str, length: int) -> None:
    """No candidate's logit depends on the others, at any history length, none included."""
    ranker, request = make(feed, fusion), inputs(feed, length, 5)
    together = ranker(*request)
    alone = [ranker(*request[:4], request[4][:, i : i + 1], request[5][:, i : i + 1], *request[6:]) for i in range(5)]

    assert together.shape == (1, 5, feed.tasks)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.inference_mode()
def test_padding_changes_no_fusion(feed: RankerConfig, fusion: str) -> None:
    """Masked steps on the right leave the logits as they were."""
    ranker, padded = make(feed, fusion), inputs(feed, 7, 3, padding=4)
    bare = [*(part[:, :7] for part in padded[:4]), *padded[4:]]

    torch.testing.assert_close(ranker(*padded), ranker(*bare), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_only_mean_pool_ignores_the_candidate_in_what_it_reads_of_the_history(feed: RankerConfig) -> None:
    """Early fusion is what tells the set apart: the history's part of the output moves with the candidate."""
    for fusion in ("mean_pool", "concat", "append_self"):
        ranker, request = make(feed, fusion), inputs(feed, 6, 2)
        history = ranker.tokens(request[0], request[1], torch.zeros(1, dtype=torch.long))
        fused = ranker.fuse(history, request[3], request[4])

        assert torch.equal(fused[0, 0], fused[0, 1]) == (fusion == "mean_pool")


@pytest.mark.parametrize("fusion", ["concat", "append_self"])
@torch.inference_mode()
def test_order_of_the_history_matters(feed: RankerConfig, fusion: str) -> None:
    """Sequence models read the order; swapping two actions moves the logits."""
    ranker, request = make(feed, fusion), inputs(feed, 6, 2)
    swapped = [request[0][:, [1, 0, 2, 3, 4, 5]], *request[1:]]

    assert (ranker(*request) - ranker(*swapped)).abs().max() > 1e-4


def test_append_cross_is_the_ranker_that_is_served(feed: RankerConfig) -> None:
    """The comparison trains the very class that is exported."""
    assert isinstance(build(feed), Ranker)
