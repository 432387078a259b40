"""The model with no service around it."""

from __future__ import annotations

import torch

from loadtests.bench_bare import BareModel
from loadtests.bench_shapes import ReferenceShape
from model.encoders import of_parts


def test_every_way_to_score_is_the_same_function() -> None:
    """One pass, microbatches and the non-amortized chunks that are timed give the same logits."""
    model = BareModel(ReferenceShape("tiny", history=9, candidates=7, embedding_dim=16))
    with torch.inference_mode():
        whole = model.amortized(7)

        torch.testing.assert_close(model.score(model.encode(), 3), whole, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.non_amortized(2, 5), whole[:5], rtol=1e-5, atol=1e-5)
    assert whole.shape == (7, 3)


def test_candidates_may_outnumber_the_shape() -> None:
    """A request of another size over the same history."""
    shape = ReferenceShape("tiny", history=9, candidates=7, embedding_dim=16)
    with torch.inference_mode():
        assert BareModel(shape, candidates=20).amortized(8).shape == (20, 3)


def test_an_extended_history_scores_like_one_that_was_encoded() -> None:
    """In two steps, to the whole history and to less, by a causal encoder."""
    model = BareModel(ReferenceShape("tiny", history=9, candidates=7, embedding_dim=16, encoder="hstu"))
    with torch.inference_mode():
        extended = model.extend(model.extend(model.encode(3), 3, 5), 5)

        torch.testing.assert_close(model.score(extended, 7), model.score(model.encode(), 7), rtol=1e-5, atol=1e-5)
        assert of_parts(model.extend(model.encode(3), 3, 5)).lengths.item() == 5
