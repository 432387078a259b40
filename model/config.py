"""RankerConfig: the numbers that define a ranker's weights. It does not know data, training or files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Encoder = Literal["transformer", "causal_transformer", "hstu"]
Fusion = Literal["append_cross", "append_self", "concat", "mean_pool"]


@dataclass(frozen=True)
class RankerConfig:
    """Sizes are counts. Raises ValueError naming the field that is wrong.

    encoder: of the history, for `append_cross` (encoders/); `hstu` has no FFN, so does not read ffn_dim
    fusion: how a candidate meets the history (Hertel et al. 2024); only `append_cross` can be served amortized,
    the others are the comparison set of `fusion.py`.
    """

    actions: int
    tasks: int
    features: int = 0
    context: int = 0
    encoder: Encoder = "transformer"
    fusion: Fusion = "append_cross"
    embedding_dim: int = 64
    layers: int = 2
    heads: int = 2
    ffn_dim: int = 256
    max_history: int = 64
    slack: int = 16
    meta_dim: int = 8
    cross_layers: int = 2
    head_dim: int = 128
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for field in ("actions", "tasks", "embedding_dim", "layers", "heads", "ffn_dim", "max_history", "slack"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        for field in ("features", "context", "meta_dim", "cross_layers", "head_dim"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must not be negative, got {getattr(self, field)}")
        if self.embedding_dim % self.heads:
            raise ValueError(f"embedding_dim {self.embedding_dim} is not a multiple of heads {self.heads}")
        if self.slack > self.max_history:
            raise ValueError(f"slack {self.slack} is larger than max_history {self.max_history}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.encoder not in get_args(Encoder):
            raise ValueError(f"encoder must be one of {get_args(Encoder)}, got {self.encoder!r}")
        if self.fusion not in get_args(Fusion):
            raise ValueError(f"fusion must be one of {get_args(Fusion)}, got {self.fusion!r}")

    @property
    def extendable(self) -> bool:
        """Whether an encoded history can be extended by new actions: the encoder is causal."""
        return self.encoder != "transformer"

    @property
    def head_inputs(self) -> int:
        """Width of what the head reads: candidate output ‖ candidate embedding ‖ features ‖ context ‖ meta."""
        return 2 * self.embedding_dim + self.features + self.context + self.meta_dim

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
