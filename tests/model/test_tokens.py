"""Tokens: where actions and candidates stand."""

from __future__ import annotations

import torch

from model.tokens import HistoryTokens


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
