"""Bundles that misbehave on purpose: verified, loaded and served like any other, until a request asks for the fault.

What is asked for is the value of the request feature `fault`; any other request is ranked as it should be. It does not
know how anything is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.bundle import Feature, ItemTable, Manifest, Task
from model.config import RankerConfig
from model.export import export_bundle
from model.heads import RankingHead
from model.ranker import build_ranker

FAULT = "fault"
RAISE, NAN, HANG = 1000.0, 1001.0, 1002.0
SPIN = 10_000.0
"""Above it: the pass takes about so many milliseconds longer."""

_WIDTH, _ITEMS = 16, 50


class FaultyHead(nn.Module):
    """A head that does as `context` [B, 1] says, and else what the real one does."""

    def __init__(self, head: RankingHead) -> None:
        super().__init__()
        self.head = head
        for name, normalisation in head.named_buffers(recurse=False):
            self.register_buffer(name, normalisation)

    def forward(self, output: Tensor, candidates: Tensor, features: Tensor, context: Tensor, meta: Tensor) -> Tensor:
        fault = float(context[0, 0])
        if fault == 1000.0:
            raise ValueError("asked to raise")
        turns = 0
        while fault == 1002.0 or turns < (fault - 10000.0) * 10000:
            turns += 1
        logits: Tensor = self.head(output, candidates, features, context.clamp(-1.0, 1.0), meta)
        if fault == 1001.0:
            logits = logits * float("nan")
        return logits


def export_faulty(root: Path, actions: Sequence[str] = ("view", "click")) -> Manifest:
    """A feed bundle, version 1, in the repository `root`. actions: those of the histories that it is to rank."""
    config = RankerConfig(
        actions=len(actions),
        tasks=1,
        features=0,
        context=1,
        embedding_dim=_WIDTH,
        heads=2,
        ffn_dim=32,
        max_history=24,
        slack=6,
        head_dim=16,
    )
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((_ITEMS + 1, _WIDTH)).astype(np.float16)
    items = ItemTable(("", *(f"item-{i}" for i in range(1, _ITEMS + 1))), embeddings)
    torch.manual_seed(0)
    ranker = build_ranker(config)
    ranker.head = FaultyHead(ranker.head)  # type: ignore[assignment]
    return export_bundle(
        root / "feed" / "1",
        ranker,
        config,
        items,
        surface="feed",
        tasks=(Task(name="click"),),
        actions=tuple(actions),
        context=(Feature(name=FAULT),),
    )
