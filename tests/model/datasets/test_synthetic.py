"""The synthetic world: deterministic, and with tastes that only a member's own actions tell."""

from __future__ import annotations

import numpy as np

from model.datasets.base import SPLITS
from model.datasets.synthetic import AD_CLICK, SKIP, World, load_synthetic
from model.metrics import auc

SMALL = World(members=100, sessions=20)


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    """Everything, log and impressions, is a function of the seed."""
    first, again, other = (load_synthetic("feed", seed, SMALL) for seed in (1, 1, 2))

    assert np.array_equal(first.log.items, again.log.items)
    for split in SPLITS:
        assert np.array_equal(first.splits[split].labels, again.splits[split].labels)
        assert np.array_equal(first.splits[split].features, again.splits[split].features)
    assert not np.array_equal(first.log.items[:100], other.log.items[:100])


def test_both_surfaces_share_items_members_and_log() -> None:
    """One history a member serves both surfaces."""
    feed, ads = load_synthetic("feed", 1, SMALL), load_synthetic("ads", 1, SMALL)

    assert feed.item_ids == ads.item_ids
    assert feed.member_ids == ads.member_ids
    assert feed.actions == ads.actions
    assert np.array_equal(feed.log.times, ads.log.times)
    assert np.array_equal(feed.log.items, ads.log.items)


def test_ads_have_one_task_and_a_price_for_every_item() -> None:
    """The ads surface is a click with a bid; the feed has neither."""
    feed, ads = load_synthetic("feed", 1, SMALL), load_synthetic("ads", 1, SMALL)

    assert ads.tasks == ("click",)
    assert ads.item_bids is not None
    assert (ads.item_bids[1:] > 0).all()
    assert feed.tasks == ("click", "like")
    assert feed.item_bids is None


def test_every_like_is_a_click() -> None:
    """The tasks are ordered as on a real feed."""
    for split in SPLITS:
        labels = load_synthetic("feed", 1, SMALL).splits[split].labels

        assert (labels[:, 1] <= labels[:, 0]).all()


def test_a_members_own_past_with_an_item_tells_more_than_popularity() -> None:
    """The planted taste is there: what a member did with an item predicts better than what everyone did."""
    dataset = load_synthetic("feed", 1, World())
    part, log = dataset.splits["test"], dataset.log
    owner = np.repeat(np.arange(len(log.offsets) - 1), np.diff(log.offsets))
    position = np.arange(len(log.items)) - log.offsets[owner]
    request_member = np.repeat(part.member, np.diff(part.candidate_offsets))
    cut = np.repeat(part.history_end, np.diff(part.candidate_offsets))
    verdicts: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for member, item, action, at in zip(owner, log.items, log.actions, position, strict=True):
        if action != AD_CLICK:
            verdicts.setdefault((int(member), int(item)), []).append((int(at), int(action != SKIP)))
    past = np.full(len(part.candidate_items), np.nan)
    for row, (member, item) in enumerate(zip(request_member, part.candidate_items, strict=True)):
        seen = [verdict for at, verdict in verdicts.get((int(member), int(item)), []) if at < cut[row]]
        if seen:
            past[row] = np.mean(seen)
    known = ~np.isnan(past)
    labels = part.labels[known, 0].astype(np.float64)
    popularity = dataset.popularity_at(part.candidate_items, part.candidate_times)[known, 0].astype(np.float64)
    own, everyones = auc(labels, past[known]), auc(labels, popularity)

    assert own is not None
    assert everyones is not None
    assert own > everyones + 0.02
