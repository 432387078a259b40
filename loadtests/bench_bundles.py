"""Bundles of random weights at the reference shapes, with members and requests to rank: what a server is measured on.

What a request costs does not depend on what the weights are. It does not know how anything is served or timed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import torch

from loadtests.bench_shapes import ReferenceShape
from model.bundle import Feature, ItemTable, Manifest, Task
from model.export import export_bundle
from model.precision import Precision
from model.ranker import build_ranker
from service.codec import encode_records
from service.redis_histories import RedisHistoryStore

ITEMS = 50_000
NAMESPACE = "bench"
NOW_MS = 1_767_225_600_000
REQUEST_TIME_MS = NOW_MS + 60_000

_WRITE_TIMEOUT_MS = 5000.0


class Bundle:
    """One shape's bundle in a model repository of its own, and what is asked of it. Everything from one seed."""

    def __init__(self, shape: ReferenceShape, root: Path, seed: int = 0, precision: Precision = "fp32") -> None:
        self.shape = shape
        self.repository = root / shape.name
        self._rng = np.random.default_rng(seed)
        embeddings = self._rng.standard_normal((ITEMS + 1, shape.embedding_dim)).astype(np.float16)
        # Ids as long as those of real catalogues: what they cost to carry and to look up depends on it.
        self.items = ItemTable(("", *(f"item-{100_000 + i}" for i in range(ITEMS))), embeddings)
        self.manifest = self._export(seed, precision)

    def _export(self, seed: int, precision: Precision) -> Manifest:
        config = self.shape.config
        torch.manual_seed(seed)
        return export_bundle(
            self.repository / "feed" / "1",
            build_ranker(config),
            config,
            self.items,
            surface="feed",
            tasks=tuple(Task(name=name) for name in ("click", "like", "follow")[: config.tasks]),
            actions=tuple(f"action-{i}" for i in range(config.actions)),
            features=tuple(Feature(name=f"feature-{i}") for i in range(config.features)),
            context=tuple(Feature(name=f"context-{i}") for i in range(config.context)),
            precision=precision,
        )

    async def store_members(self, url: str, count: int, actions: int | None = None) -> list[str]:
        """Give `count` members a full history each, or one of so many actions, straight in the store."""
        length = self.shape.history if actions is None else actions
        members = [f"member-{i:05d}" for i in range(count)]
        version, width = self.manifest.embedding_version, self.shape.embedding_dim
        store = RedisHistoryStore(url, NAMESPACE, version, width, self.shape.history, _WRITE_TIMEOUT_MS)
        try:
            for member in members:
                rows = self._rng.integers(1, len(self.items.ids), length)
                kinds = self._rng.integers(0, self.shape.config.actions, length)
                times = NOW_MS - np.arange(length)[::-1] * 60_000
                await store.replace(member, encode_records(rows, kinds, times, self.items.embeddings[rows]))
        finally:
            await store.close()
        return members

    def body(self, member: str, candidates: int | None = None, *, features: bool = False, **fields: object) -> bytes:
        """A rank request with candidates by id, drawn anew for each; `features`: with a list of numbers each."""
        rows = 1 + self._rng.choice(ITEMS, candidates or self.shape.candidates, replace=False)
        asked: list[dict[str, object]] = [{"id": self.items.ids[row]} for row in rows]
        if features:
            for candidate in asked:
                candidate["features"] = self._rng.standard_normal(self.shape.config.features).round(4).tolist()
        request = {"member_id": member, "surface": "feed", "candidates": asked, "request_time": REQUEST_TIME_MS}
        return msgspec.json.encode({**request, **fields})


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Where the bundles of one run live."""
    return tempfile.TemporaryDirectory(prefix="rankonce-bench-")
