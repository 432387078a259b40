"""The oracle of the tests: the same ranker, slow and obvious, one candidate and one row at a time, in float64.

Written from the papers' equations over the ranker's named weights; shares no code with `ranker.py` and `layers.py`.
It does not know batches, masks, padding, or that anything could be encoded once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.bundle import GoldenCase
from model.config import RankerConfig

Vector = NDArray[np.float64]
Weights = dict[str, Vector]


def reference_logits(state: Mapping[str, Tensor], config: RankerConfig, case: GoldenCase) -> Vector:
    """Logits [C, K] float64 of one request; `case.logits` is not read. `state` is the ranker's state_dict."""
    weights: Weights = {name: value.double().numpy() for name, value in state.items()}
    return np.stack([_one_candidate(weights, config, case, index) for index in range(len(case.candidates))])


def _one_candidate(w: Weights, config: RankerConfig, case: GoldenCase, index: int) -> Vector:
    length = len(case.actions)
    history = [
        case.embeddings[i].astype(np.float64)
        + w["tokens.action.weight"][case.actions[i]]
        + w["tokens.position.weight"][i]
        for i in range(length)
    ]
    embedding = case.candidates[index].astype(np.float64)
    candidate = embedding + w["tokens.no_action"] + w["tokens.position.weight"][length]
    for layer in range(config.layers):
        prefix = f"encoder.layers.{layer}."
        part = {name.removeprefix(prefix): value for name, value in w.items() if name.startswith(prefix)}
        if config.encoder == "hstu":
            rows = _hstu([*history, candidate], [*case.timestamps.tolist(), case.request_time], part, config)
        else:
            rows = _transformer([*history, candidate], part, config)
        history, candidate = rows[:-1], rows[-1]
    return _head(w, config, candidate, embedding, case, index)


def _transformer(rows: list[Vector], part: Weights, config: RankerConfig) -> list[Vector]:
    """One layer over the history's rows and the candidate's, which comes last and is nobody's key."""
    width, size = config.embedding_dim, config.embedding_dim // config.heads
    shared = [_linear(_layer_norm(row, part, "attention_norm"), part, "key_value") for row in rows[:-1]]
    updated = []
    for i, row in enumerate(rows):
        query = _linear(_layer_norm(row, part, "attention_norm"), part, "query")
        seen = shared[: i + 1] if config.encoder == "causal_transformer" else shared
        attended = np.zeros(width)
        for head in range(config.heads):
            mine = slice(head * size, (head + 1) * size)
            keys = [part["sink"][0, head, 0]] + [both[:width][mine] for both in seen]
            values = [part["sink"][1, head, 0]] + [both[width:][mine] for both in seen]
            exponents = [math.exp(float(query[mine] @ key) / math.sqrt(size)) for key in keys]
            for exponent, value in zip(exponents, values, strict=True):
                attended[mine] += exponent / sum(exponents) * value
        row = row + _linear(attended, part, "output")
        hidden = np.maximum(0.0, _linear(_layer_norm(row, part, "ffn_norm"), part, "ffn_in"))
        updated.append(row + _linear(hidden, part, "ffn_out"))
    return updated


def _hstu(rows: list[Vector], times: list[int], part: Weights, config: RankerConfig) -> list[Vector]:
    """One layer over the history's rows and the candidate's, which comes last: each sees itself and what is before it.

    times: ms, of the actions, and of the request for the candidate.
    """
    width, size = config.embedding_dim, config.embedding_dim // config.heads
    normed = [_layer_norm(row, part, "norm") for row in rows]
    keys_values = [_silu(_linear(row, part, "key_value")) for row in normed]
    updated = []
    for i, row in enumerate(rows):
        query_gate = _silu(_linear(normed[i], part, "query_gate"))
        attended = np.zeros(width)
        for j in range(i + 1):
            seconds = max(abs(times[i] - times[j]) / 1000, 1.0)
            bias = part["position_bias"][i - j] + part["time_bias"][min(int(math.log(seconds) / 0.301), 128)]
            for head in range(config.heads):
                mine = slice(head * size, (head + 1) * size)
                weight = _silu(query_gate[:width][mine] @ keys_values[j][:width][mine] + bias) / config.max_history
                attended[mine] += weight * keys_values[j][width:][mine]
        gated = _layer_norm(attended, part, "attended_norm", 1e-6) * query_gate[width:]
        updated.append(row + _linear(gated, part, "output"))
    return updated


def _head(w: Weights, config: RankerConfig, row: Vector, embedding: Vector, case: GoldenCase, index: int) -> Vector:
    part = {name.removeprefix("head."): value for name, value in w.items() if name.startswith("head.")}
    features = (case.features[index] - part["feature_mean"]) / part["feature_scale"]
    context = (case.context - part["context_mean"]) / part["context_scale"]
    first = np.concatenate([_layer_norm(row, part, "norm"), embedding, features, context, case.meta])
    crossed = first
    for layer in range(config.cross_layers):
        crossed = first * _linear(crossed, part, f"cross.{layer}") + crossed
    return _linear(np.maximum(0.0, _linear(crossed, part, "hidden")), part, "logits")


def _linear(x: Vector, part: Weights, name: str) -> Vector:
    result: Vector = part[f"{name}.weight"] @ x + part[f"{name}.bias"]
    return result


def _layer_norm(x: Vector, part: Weights, name: str, epsilon: float = 1e-5) -> Vector:
    centred = x - x.mean()
    scale = math.sqrt((centred**2).mean() + epsilon)
    result: Vector = centred / scale * part[f"{name}.weight"] + part[f"{name}.bias"]
    return result


def _silu(x: Vector) -> Vector:
    result: Vector = x / (1.0 + np.exp(-x))
    return result
