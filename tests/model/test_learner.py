"""The learner: ids to logits, float16 where it matters, and one path for every fusion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.bundle import ItemTable
from model.config import Fusion
from model.datasets.base import Dataset
from model.datasets.batches import Batch, gather
from model.datasets.synthetic import World, load_synthetic
from model.learner import Learner
from model.run import TrainingSettings
from model.train import new_learner

SETTINGS = TrainingSettings(
    data="synthetic", surface="feed", embedding_dim=8, ffn_dim=16, head_dim=8, max_history=12, slack=4
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A tiny synthetic feed."""
    return load_synthetic("feed", seed=2, world=World(members=20, items=40, sessions=8))


def some_batch(dataset: Dataset, rows: int = 6) -> Batch:
    """Requests with long, short and empty histories together."""
    part = dataset.splits["train"]
    order = np.argsort(part.history_end, kind="stable")
    return gather(dataset, part, order[:: max(1, len(order) // rows)][:rows], 12, 4)


@pytest.mark.parametrize("fusion", ["append_cross", "append_self", "concat", "mean_pool"])
def test_every_fusion_gives_a_logit_for_every_candidate(dataset: Dataset, fusion: Fusion) -> None:
    """One call for all fusions: [B, C, K], finite at real candidates, empty histories included."""
    learner = new_learner(dataset, replace(SETTINGS, fusion=fusion), None).eval()
    batch = some_batch(dataset)
    logits = learner(batch)

    assert logits.shape == (*batch.candidate_items.shape, 2)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("fusion", ["append_cross", "append_self", "concat", "mean_pool"])
def test_a_candidates_logit_does_not_depend_on_the_batch(dataset: Dataset, fusion: Fusion) -> None:
    """Padding, neighbours and the flattening of the per-candidate fusions leave a logit as it is."""
    learner = new_learner(dataset, replace(SETTINGS, fusion=fusion), None).eval()
    part = dataset.splits["train"]
    rows = np.array([3, 40, 90])
    together = learner(gather(dataset, part, rows, 12, 4))
    for index, row in enumerate(rows):
        batch = gather(dataset, part, np.array([row]), 12, 4)
        alone = learner(batch)[0][batch.candidate_mask[0]]
        assert torch.allclose(together[index][: len(alone)], alone, atol=1e-5)


def test_out_of_training_the_embeddings_are_those_of_the_bundle(dataset: Dataset) -> None:
    """Evaluation reads the table rounded through float16, exactly as it is exported."""
    learner = new_learner(dataset, SETTINGS, None).eval()
    exact = learner.items.weight.detach().clone()
    before = learner(some_batch(dataset))
    with torch.no_grad():
        learner.items.weight.copy_(exact.half().float())

    assert not torch.equal(exact, exact.half().float())
    assert torch.equal(learner(some_batch(dataset)), before)


def test_items_that_training_never_met_share_the_unknown_embedding(dataset: Dataset) -> None:
    """Their random start would be noise, so they read row 0, in evaluation and in the exported table."""
    known = torch.ones(len(dataset.item_ids), dtype=torch.bool)
    known[7] = False
    learner = Learner(SETTINGS.config(dataset), known, 0.0, 0.0, 0.5).eval()
    table = learner.item_embeddings()

    assert table.dtype == torch.float16
    assert torch.equal(table[7], table[0])
    assert not torch.equal(table[6], table[0])


def test_training_drops_ids_and_histories_at_random_and_evaluation_does_not(dataset: Dataset) -> None:
    """The unknown item and the cold start are met in training; out of it the learner is a function."""
    config = replace(SETTINGS.config(dataset), dropout=0.0)
    learner = Learner(config, torch.ones(len(dataset.item_ids), dtype=torch.bool), 0.5, 0.5, 0.5)
    batch = some_batch(dataset)

    assert not torch.equal(learner.train()(batch), learner(batch))
    assert torch.equal(learner.eval()(batch), learner(batch))


def test_the_unknown_row_is_trained_by_dropped_ids(dataset: Dataset) -> None:
    """Row 0 gets a gradient though no data holds it."""
    learner = new_learner(dataset, replace(SETTINGS, drop_items=0.5), None).train()
    learner(some_batch(dataset)).sum().backward()

    assert learner.items.weight.grad is not None
    assert learner.items.weight.grad[0].abs().sum() > 0


def test_a_frozen_table_is_taken_over_bit_by_bit(dataset: Dataset) -> None:
    """Both surfaces then refer to the very same embeddings."""
    rng = np.random.default_rng(0)
    table = ItemTable(dataset.item_ids, rng.normal(size=(len(dataset.item_ids), 8)).astype(np.float16))
    learner = new_learner(dataset, SETTINGS, table)

    assert not learner.items.weight.requires_grad
    assert np.array_equal(learner.item_embeddings().numpy(), table.embeddings)


def test_what_is_known_beforehand_is_added_and_exported(dataset: Dataset) -> None:
    """The fixed part is no parameter, reaches the table, and gives way to a table that is taken over."""
    learner = new_learner(dataset, replace(SETTINGS, cooccurrence=2.0), None)
    plain = new_learner(dataset, SETTINGS, None)
    added = (learner.item_embeddings() - plain.item_embeddings()).detach().float()
    table = ItemTable(dataset.item_ids, plain.item_embeddings().detach().numpy())

    assert {name for name, _ in learner.named_parameters()} == {name for name, _ in plain.named_parameters()}
    assert (added[learner.known][1:] ** 2).mean().sqrt().item() == pytest.approx(2.0, rel=0.1)
    assert not added[0].any()
    learner.freeze_items(table)
    assert np.array_equal(learner.item_embeddings().detach().numpy(), table.embeddings)


def test_an_action_starts_as_loud_as_its_item(dataset: Dataset) -> None:
    """What was done must not be drowned by what it was done with."""
    learner = new_learner(dataset, replace(SETTINGS, embedding_std=0.5), None)

    assert learner.state_dict()["ranker.tokens.action.weight"].std().item() == pytest.approx(0.5, rel=0.4)
