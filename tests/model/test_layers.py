"""Attention blocks: shapes, the cold-start key, and tokens."""

from __future__ import annotations

import torch

from model.layers import CrossAttentionLayer, HistoryTokens


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


def test_appending_an_action_moves_no_other_token() -> None:
    """A token's position counts from the window's start."""
    torch.manual_seed(0)
    tokens = HistoryTokens(actions=3, max_history=8, embedding_dim=4)
    embeddings, actions, start = torch.randn(1, 5, 4), torch.tensor([[0, 1, 2, 0, 1]]), torch.zeros(1, dtype=torch.long)

    assert torch.equal(tokens(embeddings[:, :4], actions[:, :4], start), tokens(embeddings, actions, start)[:, :4])


def test_tokens_of_a_suffix_know_where_they_stand() -> None:
    """Tokens made from a later first position equal the tail of the whole window's."""
    torch.manual_seed(0)
    tokens = HistoryTokens(actions=3, max_history=8, embedding_dim=4)
    embeddings, actions = torch.randn(1, 5, 4), torch.tensor([[0, 1, 2, 0, 1]])

    tail = tokens(embeddings[:, 2:], actions[:, 2:], torch.tensor([2]))

    assert torch.equal(tail, tokens(embeddings, actions, torch.tensor([0]))[:, 2:])


def test_a_candidate_stands_right_after_the_history() -> None:
    """A full window still has a place for the candidate, and the place follows the member's length."""
    torch.manual_seed(0)
    tokens = HistoryTokens(actions=3, max_history=8, embedding_dim=4)
    same = torch.randn(1, 1, 4).expand(2, 1, 4)

    placed = tokens.candidates(same, torch.tensor([8, 3]))

    torch.testing.assert_close(placed[0] - placed[1], (tokens.position.weight[8] - tokens.position.weight[3])[None])


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
