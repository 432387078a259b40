"""HSTU's own parts: time buckets, the relative bias, own terms, blocks of rows, and explanations without a softmax."""

from __future__ import annotations

import math

import pytest
import torch

from model.config import RankerConfig
from model.encoders.encoded import EncodedHistory
from model.encoders.hstu import TIME_BUCKETS, HstuEncoder, HstuLayer, time_buckets


def test_time_buckets_are_logarithms_of_seconds() -> None:
    """Below a second all is one bucket, the sign does not matter, and the longest time has a place in the table."""
    day = 86_400_000
    differences = torch.tensor([0, 999, 1_000, 1_352, day, -day, 400 * day, 2**63 - 1])
    expected = [0, 0, 0, 1, *[int(math.log(86_400) / 0.301)] * 2, int(math.log(400 * 86_400) / 0.301)]

    found = time_buckets(differences).tolist()

    assert found[:-1] == expected
    assert expected[-1] < found[-1] < TIME_BUCKETS


def test_a_bucket_does_not_depend_on_what_else_is_computed() -> None:
    """One at a time as in a long row, to the last bit: extension computes fewer at once than encoding."""
    differences = torch.randint(0, 2**40, (1000,), generator=torch.Generator().manual_seed(0))

    assert torch.equal(torch.cat([time_buckets(one) for one in differences.split(1)]), time_buckets(differences))


@torch.inference_mode()
def test_a_row_by_hand() -> None:
    """The weights of one row are SiLU(q k + position + time) / N, and later rows have none."""
    torch.manual_seed(0)
    layer = HstuLayer(4, heads=1, positions=4, normaliser=3, dropout=0.0).eval()
    rows = torch.randn(1, 2, 4)
    normed = layer.norm(rows)
    keys, values = layer.keys_values(normed)
    distances = torch.tensor([[[0, -1], [1, 0]]], dtype=torch.int32)
    buckets = torch.tensor([[[0, 9], [9, 0]]], dtype=torch.int32)

    updated = layer.history(rows, normed, keys, values, layer.bias(distances, buckets))

    q, gate = torch.nn.functional.silu(layer.query_gate(normed[0])).split(4, dim=1)
    k, v = torch.nn.functional.silu(layer.key_value(normed[0])).split(4, dim=1)
    silu = torch.nn.functional.silu
    earlier = silu(q[1] @ k[0] + layer.position_bias[1] + layer.time_bias[9])
    own = silu((q * k).sum(dim=1) + layer.position_bias[0] + layer.time_bias[0])
    attended = torch.stack([own[0] * v[0], earlier * v[0] + own[1] * v[1]]) / 3
    expected = rows[0] + layer.output(layer.attended_norm(attended) * gate)
    torch.testing.assert_close(updated[0], expected)


@torch.inference_mode()
def test_the_request_time_moves_the_candidates_and_not_the_history() -> None:
    """Time enters where a candidate meets an action: the same encoding is scored at any request time."""
    encoder, rows, encoded = encoded_history()

    soon, late = (encoder.attend(rows, encoded, torch.tensor([time])) for time in (10_000, 10_000_000))

    assert (soon - late).abs().max() > 1e-3


@torch.inference_mode()
def test_explanations_are_sizes_of_weights_with_the_own_one_left_out() -> None:
    """At least 0, and together with the candidate's own share 1; an action that is not real has none."""
    encoder, rows, encoded = encoded_history()

    shares = encoder.explain(rows, encoded, torch.tensor([10_000]))

    assert shares.shape == (1, 3, 6)
    assert (shares >= 0).all()
    assert (shares.sum(dim=2) < 1).all()
    assert (shares[:, :, 5] == 0).all()
    assert (shares[:, :, :5] > 0).all()


@pytest.mark.parametrize("block", [1, 5, 128])
@torch.inference_mode()
def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Rows in blocks of any size give the encoding, and candidates the rows, of one block."""
    encoder, rows, encoded = encoded_history()
    expected = encoder.attend(rows, encoded, torch.tensor([10_000]))
    monkeypatch.setattr(HstuEncoder, "block", block)

    _, _, again = encoded_history()

    for one, other in zip([*encoded.keys, *encoded.values], [*again.keys, *again.values], strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(encoder.attend(rows, again, torch.tensor([10_000])), expected)


def encoded_history() -> tuple[HstuEncoder, torch.Tensor, EncodedHistory]:
    """An encoder of two layers, three candidate rows, and six actions, the last of which is padding."""
    torch.manual_seed(0)
    config = RankerConfig(actions=1, tasks=1, embedding_dim=8, heads=2, layers=2, max_history=8, slack=2)
    encoder = HstuEncoder(config).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    mask = torch.tensor([[True] * 5 + [False]])
    encoded = encoder.encode(torch.randn(1, 6, 8), torch.arange(6)[None] * 1_500, mask)
    return encoder, torch.randn(1, 3, 8), encoded
