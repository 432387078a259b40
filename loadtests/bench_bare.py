"""A ranker of random weights at a reference shape, run as the service runs it but with no service around it.

Scripted, saved, loaded and frozen as `service/runtime.py` does; called in inference mode on one thread. It does not
know what is measured.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from torch import Tensor

from loadtests.bench_shapes import ReferenceShape
from model.ranker import Ranker, build_ranker

METHODS = ["encode_history", "score_candidates", "explain_candidates", "extend_history"]


class BareModel:
    """Inputs are drawn once. candidates: of the request, the shape's own number unless given."""

    def __init__(self, shape: ReferenceShape, candidates: int | None = None, seed: int = 0) -> None:
        config = shape.config
        torch.manual_seed(seed)
        self.candidates = candidates or shape.candidates
        self._artifact = frozen(build_ranker(config).eval())
        self._history = (
            torch.randn(1, shape.history, config.embedding_dim),
            torch.randint(config.actions, (1, shape.history)),
            torch.arange(shape.history)[None] * 60_000,
            torch.ones(1, shape.history, dtype=torch.bool),
        )
        self._rows = torch.randn(self.candidates, config.embedding_dim)
        self._features = torch.randn(self.candidates, config.features)
        self._request = (
            torch.randn(1, config.context),
            torch.randn(1, config.meta_dim),
            torch.tensor([shape.history * 60_000]),
        )

    def encode(self, count: int | None = None) -> Any:
        """The history, or its first `count` actions."""
        return self._artifact.encode_history(*(part[:, :count] for part in self._history))

    def extend(self, encoded: Any, start: int, stop: int | None = None) -> Any:
        """An encoding of the first `start` actions, extended to `stop` or to all; for causal encoders."""
        return self._artifact.extend_history(encoded, *(part[:, start:stop] for part in self._history))

    def score(self, encoded: Any, microbatch: int) -> Tensor:
        """Logits [C, K] of all candidates over one encoding, `microbatch` at a time."""
        return torch.cat(
            [
                self._artifact.score_candidates(encoded, rows[None], features[None], *self._request)[0]
                for rows, features in zip(self._rows.split(microbatch), self._features.split(microbatch), strict=True)
            ]
        )

    def amortized(self, microbatch: int) -> Tensor:
        return self.score(self.encode(), microbatch)

    def non_amortized(self, chunk: int, count: int) -> Tensor:
        """Logits [count, K] of the first `count` candidates, the history encoded for each, `chunk` at a time."""
        logits = []
        for rows, features in zip(self._rows[:count].split(chunk), self._features[:count].split(chunk), strict=True):
            size = len(rows)
            repeated = [tensor.expand(size, *tensor.shape[1:]) for tensor in (*self._history, *self._request)]
            logits.append(self._artifact(*repeated[:4], rows[:, None], features[:, None], *repeated[4:])[:, 0])
        return torch.cat(logits)


def frozen(ranker: Ranker) -> Any:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        torch.jit.save(torch.jit.script(ranker), file)
        file.seek(0)
        return torch.jit.freeze(
            torch.jit.load(file).eval(), preserved_attrs=[name for name in METHODS if hasattr(ranker, name)]
        )
