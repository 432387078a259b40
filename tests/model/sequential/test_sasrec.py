"""SASRec's layer against loops, and its causality."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from model.sequential.sasrec import SasRecEncoder, SasRecLayer
from model.sequential.sequences import Sequences
from tests.model.sequential.conftest import MAX_LENGTH, check_causal_and_alone, whole


def test_a_row_reads_neither_later_items_nor_other_members(sequences: Sequences) -> None:
    """Changing a window's last item changes its last row alone."""
    check_causal_and_alone(SasRecEncoder(8, 2, 2, MAX_LENGTH, 0.2), sequences)


def test_a_layer_is_the_published_formula(sequences: Sequences) -> None:
    """Row by row and head by head."""
    torch.manual_seed(0)
    layer = SasRecLayer(8, 2, 0.2).eval()
    batch = whole(sequences, np.array([3]))
    rows = torch.randn(len(batch.items), 8)
    normed = F.layer_norm(rows, (8,), eps=1e-8)
    queries = layer.query(normed)
    keys, values = layer.key_value(rows).chunk(2, dim=1)
    expected = []
    for at in range(len(rows)):
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            logits = torch.stack([queries[at, part] @ keys[j, part] / 2.0 for j in range(at + 1)])
            heads.append(sum(w * values[j, part] for j, w in enumerate(torch.softmax(logits, dim=0))))
        middle = F.layer_norm(normed[at] + layer.output(torch.cat(heads)), (8,), eps=1e-8)
        expected.append(middle + layer.second(F.relu(layer.first(middle))))

    torch.testing.assert_close(layer(rows, batch), torch.stack(expected), atol=1e-5, rtol=1e-5)
