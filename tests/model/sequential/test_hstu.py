"""HSTU's published next-item form against loops, its causality, and whose time it reads."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.sequential.batch import Batch
from model.sequential.hstu import NextItemHstuEncoder
from model.sequential.sequences import Sequences
from tests.model.sequential.conftest import MAX_LENGTH, check_causal_and_alone, whole


def slow(encoder: NextItemHstuEncoder, embeddings: Tensor, batch: Batch) -> Tensor:
    """One window, the published formula row by row: [L, D]."""
    rows = [math.sqrt(8) * embeddings[at] + encoder.tokens.positions.weight[at] for at in range(len(embeddings))]
    for layer in encoder.layers:
        parts = []
        for row in rows:
            normed = F.layer_norm(row, (8,), eps=1e-6)
            keys, values = F.silu(layer.key_value.weight @ normed).chunk(2)
            queries, gate = F.silu(layer.query_gate.weight @ normed).chunk(2)
            parts.append((queries, keys, values, gate))
        updated = []
        for at, row in enumerate(rows):
            heads = []
            for part in (slice(0, 4), slice(4, 8)):
                attended = torch.zeros(4)
                for j in range(at + 1):
                    seconds = abs(int(batch.target_times[at] - batch.times[j])) / 1000
                    bucket = int(math.log(max(seconds, 1.0)) / 0.301)
                    bias = layer.position_bias[at - j] + layer.time_bias[bucket]
                    weight = F.silu(parts[at][0][part] @ parts[j][1][part] + bias) / MAX_LENGTH
                    attended = attended + weight * parts[j][2][part]
                heads.append(attended)
            gated = F.layer_norm(torch.cat(heads), (8,), eps=1e-6) * parts[at][3]
            updated.append(row + layer.output.weight @ gated + layer.output.bias)
        rows = updated
    return torch.stack(rows)


def loud() -> NextItemHstuEncoder:
    """An encoder whose attention and biases are large enough to be seen."""
    torch.manual_seed(0)
    encoder = NextItemHstuEncoder(8, 2, 2, MAX_LENGTH, 0.2).eval()
    for layer in encoder.layers:
        for parameter in (layer.key_value.weight, layer.query_gate.weight, layer.position_bias, layer.time_bias):
            torch.nn.init.normal_(parameter, std=0.5)
    return encoder


def test_it_is_the_published_formula(sequences: Sequences) -> None:
    """Against loops over rows, heads and keys."""
    encoder = loud()
    batch = whole(sequences, np.array([4]))
    embeddings = torch.randn(len(batch.items), 8)

    torch.testing.assert_close(encoder(embeddings, batch), slow(encoder, embeddings, batch), atol=1e-4, rtol=1e-4)


def test_a_row_reads_neither_later_items_nor_other_members(sequences: Sequences) -> None:
    """Changing a window's last item changes its last row alone."""
    check_causal_and_alone(loud(), sequences)


@torch.no_grad()
def test_a_row_reads_the_time_of_the_item_that_is_asked_for(sequences: Sequences) -> None:
    """The published form, and why it cannot be extended: the last row moves with the next item's time."""
    encoder = loud()
    batch = whole(sequences, np.array([4]))
    embeddings = torch.randn(len(batch.items), 8)
    later = batch.target_times.clone()
    later[-1] += 86_400_000
    moved = (encoder(embeddings, batch._replace(target_times=later)) - encoder(embeddings, batch)).abs().amax(dim=1)

    assert float(moved[-1]) > 1e-4
    assert float(moved[:-1].max()) == 0.0


def test_only_what_is_published_is_trained() -> None:
    """No weights in the norms, no bias in f1."""
    encoder = NextItemHstuEncoder(8, 1, 2, MAX_LENGTH, 0.2)
    trained = {name.removeprefix("layers.0.") for name, value in encoder.named_parameters() if value.requires_grad}

    assert trained == {
        "tokens.positions.weight",
        "position_bias",
        "time_bias",
        "key_value.weight",
        "query_gate.weight",
        "output.weight",
        "output.bias",
    }
