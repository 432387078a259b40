"""The softmax Transformer: the cold-start key, its attention, and what a causal row may see."""

from __future__ import annotations

import torch

from model.encoders.transformer import CrossAttentionLayer, causal


def test_cold_start_key_stands_first_and_is_learned() -> None:
    """With no history at all the row attends to the learned key and value alone, and trains them."""
    torch.manual_seed(0)
    layer = CrossAttentionLayer(16, heads=2, ffn_dim=32, dropout=0.0)
    keys, values = layer.with_sink(*layer.keys_values(torch.zeros(3, 0, 16)))
    rows = torch.randn(3, 4, 16)

    layer.update(
        rows, layer.attention_norm(rows), keys, values, torch.ones(3, 1, 1, 1, dtype=torch.bool)
    ).sum().backward()

    assert keys.shape == (3, 2, 1, 8)
    assert layer.sink.grad is not None
    assert layer.sink.grad[1].abs().sum() > 0


def test_attention_is_the_softmax_that_update_uses() -> None:
    """Weights by `attention` applied to the values give what scaled dot-product attention gives."""
    torch.manual_seed(0)
    layer = CrossAttentionLayer(8, heads=1, ffn_dim=16, dropout=0.0).eval()
    history, rows = torch.randn(1, 6, 8), torch.randn(1, 3, 8)
    keys, values = layer.with_sink(*layer.keys_values(history))
    mask = torch.tensor([[[[True] * 5 + [False] * 2]]])

    weights = layer.attention(rows, keys, mask)
    expected = torch.nn.functional.scaled_dot_product_attention(layer.queries(rows), keys, values, attn_mask=mask)
    sink_share = 1 - weights.sum(dim=2, keepdim=True)

    torch.testing.assert_close(sink_share * values[0, :, :1] + weights @ values[0, :, 1:], expected[:, 0])
    assert (weights[:, :, 4:] == 0).all()


def test_no_mask_is_a_mask_without_padding() -> None:
    """`update` gives the same rows where no mask is given and where every key is real."""
    torch.manual_seed(0)
    layer = CrossAttentionLayer(8, heads=2, ffn_dim=16, dropout=0.0).eval()
    keys, values = layer.with_sink(*layer.keys_values(torch.randn(2, 6, 8)))
    rows = torch.randn(2, 3, 8)

    masked = layer.update(rows, rows, keys, values, torch.ones(2, 1, 1, 7, dtype=torch.bool))

    torch.testing.assert_close(layer.update(rows, rows, keys, values, None), masked)


def test_a_causal_row_sees_real_actions_up_to_itself() -> None:
    """Of five keys, the first always real, the last three rows see what is real and not after them."""
    seen = torch.tensor([[True, True, False, True, True], [True] * 5])

    visible = causal(seen, 3)

    assert visible is not None
    assert visible[0, 0].int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    assert visible[1, 0].int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert causal(torch.ones(2, 5, dtype=torch.bool), 1) is None
