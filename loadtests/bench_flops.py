"""The floating-point operations that a ranker's answer requires: matrix products only, a multiply-add counts as two.

Norms, softmax, activations, biases and residuals count as nothing, though they take time: what share of the machine's
GEMM rate is reached is then a bound that no implementation can flatter. Of the last layer's history side only keys and
values are required. With T actions, C candidates, width d, FFN width f and L layers:

    history row, a layer     K, V: 4d² · then, but for the last layer, Q and output: 4d², FFN: 4df, attention: 4d(T + 1)
    candidate row, a layer   Q and output: 4d² · FFN: 4df · attention: 4d(T + 1)
    candidate, head          cross layers: 2w² each, w = its inputs · hidden: 2wh · logits: 2hK

T + 1: the learned cold-start key stands before every history.
"""

from __future__ import annotations

from model.config import RankerConfig


def encode_flops(config: RankerConfig, history: int) -> int:
    """One history of `history` actions, once."""
    keys_values = config.layers * 4 * config.embedding_dim**2
    return history * (keys_values + (config.layers - 1) * _row_flops(config, history))


def score_flops(config: RankerConfig, history: int, candidates: int) -> int:
    """`candidates` candidates against an encoded history of `history` actions."""
    return candidates * (config.layers * _row_flops(config, history) + _head_flops(config))


def amortized_flops(config: RankerConfig, history: int, candidates: int) -> int:
    """One encoding for all candidates."""
    return encode_flops(config, history) + score_flops(config, history, candidates)


def non_amortized_flops(config: RankerConfig, history: int, candidates: int) -> int:
    """One encoding for each candidate."""
    return candidates * amortized_flops(config, history, 1)


def _row_flops(config: RankerConfig, history: int) -> int:
    width = config.embedding_dim
    return 4 * width**2 + 4 * width * config.ffn_dim + 4 * width * (history + 1)


def _head_flops(config: RankerConfig) -> int:
    width = config.head_inputs
    return config.cross_layers * 2 * width**2 + 2 * width * config.head_dim + 2 * config.head_dim * config.tasks
