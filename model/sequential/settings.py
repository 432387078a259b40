"""What a training is asked for, and the published settings. It does not know data or torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from model.sequential.losses import LossName
from model.sequential.sequences import Protocol

Encoder = Literal["sasrec", "sasrec_postnorm", "hstu"]
ENCODERS: tuple[Encoder, ...] = get_args(Encoder)


@dataclass(frozen=True)
class NextItemSettings:
    """Everything that decides a training's weights. data: an absolute path · dim: width of rows and embeddings ·
    max_length: rows of a window · beta2: Adam's second · patience: epochs without a better validation, read by the
    protocol `validated` only."""

    data: str
    encoder: Encoder
    loss: LossName
    protocol: Protocol
    seed: int = 0
    dim: int = 50
    layers: int = 2
    heads: int = 1
    max_length: int = 200
    dropout: float = 0.2
    learning_rate: float = 1e-3
    beta2: float = 0.98
    batch_size: int = 128
    epochs: int = 101
    patience: int = 10

    def __post_init__(self) -> None:
        for name in ("dim", "layers", "heads", "max_length", "batch_size", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not divisible by {self.heads} heads")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.learning_rate <= 0.0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")


def published(data_name: str, encoder: Encoder) -> dict[str, Any]:
    """The settings that differ from HSTU's for MovieLens 1M (Zhai et al. 2024), which are the defaults above.

    Amazon's files come without a published HSTU setting: they take the same but for windows of 50 and early stopping
    on the validation item. `sasrec_postnorm` takes what the S3-Rec code is run with.
    """
    if encoder == "sasrec_postnorm":
        amazon_postnorm = {"dim": 64, "heads": 2, "max_length": 50, "dropout": 0.5, "beta2": 0.999, "batch_size": 256}
        return {**amazon_postnorm, "epochs": 200, "protocol": "validated"}
    if data_name.startswith("amazon-"):
        return {"max_length": 50, "protocol": "validated"}
    return {"protocol": "fixed"}
