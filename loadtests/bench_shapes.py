"""The four sizes that every figure about the model is given at. It knows numbers, not how they are measured."""

from __future__ import annotations

from dataclasses import dataclass

from model.config import Encoder, RankerConfig


@dataclass(frozen=True)
class ReferenceShape:
    """history: T actions · candidates: C · embedding_dim: d · encoder: of the history. The layers, heads and inputs
    beside them never vary."""

    name: str
    history: int
    candidates: int
    embedding_dim: int
    encoder: Encoder = "transformer"

    @property
    def config(self) -> RankerConfig:
        """Two layers, four heads, FFN 4d; a full-rank DCN-v2 head of two cross layers and 128 hidden units."""
        return RankerConfig(
            actions=8,
            tasks=3,
            features=8,
            context=2,
            encoder=self.encoder,
            embedding_dim=self.embedding_dim,
            layers=2,
            heads=4,
            ffn_dim=4 * self.embedding_dim,
            max_history=self.history,
            slack=self.history // 4,
            meta_dim=16,
            cross_layers=2,
            head_dim=128,
            dropout=0.0,
        )

    def __str__(self) -> str:
        return f"{self.name} (T={self.history} C={self.candidates} d={self.embedding_dim})"


SMALL = ReferenceShape("small", 128, 256, 64)
LARGE = ReferenceShape("large", 256, 512, 128)
WIDE = ReferenceShape("wide", 256, 2048, 128)
LONG = ReferenceShape("long", 1024, 512, 128)
SHAPES = {shape.name: shape for shape in (SMALL, LARGE, WIDE, LONG)}
