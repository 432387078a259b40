"""Made-up members with planted tastes: everything a ranker should find is in their recent actions.

Each item has a topic; a member likes several topics at once and dislikes the rest, and tastes drift. What is shown
tells little of a taste; what the member did with it does (`like` and `click` against `skip`), so a ranker must bind an
action to its item and ask for the candidate's topic: the history's mean blurs both. Both surfaces come from one
simulation and share one log. Deterministic by seed. It does not know torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.bundle import Surface
from model.datasets.asof import AsOf
from model.datasets.base import F32, I64, Dataset, Impressions, action_log, offsets_of, split_by_time

ACTIONS = ("skip", "click", "like", "ad_click")
SKIP, CLICK, LIKE, AD_CLICK = range(len(ACTIONS))
FEATURES = ("log_popularity", "click_rate", "freshness")
CONTEXT = ("evening",)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
FRESH_DAYS = 10.0


@dataclass(frozen=True)
class World:
    """How large and how hard the simulation is. Counts, but for three numbers.

    drift: probability of a new taste a session · retrieval: how much more an item of a liked topic is shown, as a
    logarithm (what comes before a ranker knows something of the member, too) · spread: how unequally often items are
    shown, the standard deviation of that logarithm
    """

    members: int = 500
    items: int = 128
    topics: int = 8
    liked_topics: int = 2
    sessions: int = 18
    feed_candidates: int = 8
    ads_candidates: int = 4
    drift: float = 0.05
    retrieval: float = 1.2
    spread: float = 0.8


class _Shown(NamedTuple):
    """One surface's sessions. member, time: [N] int64 · items: [N, C] int64 · labels: [N, C, K] float32."""

    member: I64
    time: I64
    items: I64
    labels: F32


def load_synthetic(surface: Surface, seed: int, world: World = World()) -> Dataset:
    """Simulate the world from `seed` and return one surface of it."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, world.topics, world.items)
    quality = rng.normal(0.0, 1.0, world.items)
    appeal = world.spread * rng.normal(0.0, 1.0, world.items)  # shown more often for it, not clicked more often
    published = EPOCH_MS - rng.integers(0, 30 * DAY_MS, world.items)
    bids = np.concatenate([[0.0], rng.lognormal(0.0, 0.5, world.items)]).round(3).astype(np.float32)

    def freshness(items: I64, times: I64) -> NDArray[np.float64]:
        """1 when published, falling to 1/e after FRESH_DAYS. items: rows of the item table."""
        age = (times - published[np.maximum(items, 1) - 1]) / DAY_MS
        fresh: NDArray[np.float64] = np.exp(-age / FRESH_DAYS)
        return fresh

    tastes = np.argsort(rng.random((world.members, world.topics)), axis=1) < world.liked_topics  # [M, topics]
    time = EPOCH_MS + rng.integers(0, 10 * DAY_MS, world.members)
    members = np.arange(world.members)
    shown: dict[Surface, list[_Shown]] = {"feed": [], "ads": []}
    logged: list[tuple[I64, I64, I64, I64]] = []  # member, item, action, time

    for _ in range(world.sessions):
        time = time + HOUR_MS + (rng.exponential(16.0, world.members) * HOUR_MS).astype(np.int64)
        moved = np.flatnonzero(rng.random(world.members) < world.drift)
        gained = _one_of(rng, ~tastes[moved])
        lost = _one_of(rng, tastes[moved])
        tastes[moved, gained], tastes[moved, lost] = True, False
        evening = _evening(time)

        def affinity(items: I64, at: I64, tastes: NDArray[np.bool_] = tastes) -> NDArray[np.float64]:
            liked = tastes[members[:, None], topic[items - 1]]
            fresh = freshness(items.ravel(), np.repeat(at, items.shape[1])).reshape(items.shape)
            return np.where(liked, 1.9, -1.3) + 0.6 * quality[items - 1] + 1.0 * fresh

        # The feed: skip, click or like, all of it logged, a second apart.
        weight = appeal + world.retrieval * tastes[:, topic]  # [M, items]
        items = _draw(rng, weight, world.feed_candidates)
        logit = affinity(items, time) - 1.0 + 0.5 * evening[:, None]
        clicked = rng.random(items.shape) < _sigmoid(logit)
        liked = clicked & (rng.random(items.shape) < _sigmoid(logit - 0.5))
        shown["feed"].append(_Shown(members, time, items, np.stack([clicked, liked], axis=2).astype(np.float32)))
        moments = time[:, None] + 1000 * np.arange(1, world.feed_candidates + 1)
        owner = np.broadcast_to(members[:, None], items.shape)
        action = np.where(liked, LIKE, np.where(clicked, CLICK, SKIP))
        logged.append((owner.ravel(), items.ravel(), action.ravel(), moments.ravel()))

        # Ads a minute later: rarer clicks, and only clicks are logged.
        time = time + 60_000
        items = _draw(rng, weight, world.ads_candidates)
        clicked = rng.random(items.shape) < _sigmoid(affinity(items, time) - 2.5)
        shown["ads"].append(_Shown(members, time, items, clicked[:, :, None].astype(np.float32)))
        row, column = np.nonzero(clicked)
        logged.append((row, items[row, column], np.full(len(row), AD_CLICK), time[row] + 1000 * (column + 1)))

    member, item, action, moment = (np.concatenate(column) for column in zip(*logged, strict=True))
    log = action_log(world.members, member, item, action, moment)
    sessions = _Shown(*(np.concatenate(column) for column in zip(*shown[surface], strict=True)))

    count, tasks = sessions.items.shape[1], sessions.labels.shape[2]
    outcomes = (sessions.time[:, None] + 1000 * np.arange(1, count + 1)).ravel()
    known = AsOf(sessions.items.ravel(), outcomes, sessions.labels.reshape(-1, tasks))

    def features_at(items: I64, times: I64) -> F32:
        columns = [np.log1p(known.counts(items, times)), known.rates(items, times)[:, 0], freshness(items, times)]
        return np.stack(columns, axis=1).astype(np.float32)

    def popularity_at(items: I64, times: I64) -> F32:
        return known.rates(items, times).astype(np.float32)

    impressions = Impressions(
        sessions.member,
        sessions.time,
        log.earlier(sessions.member, sessions.time),
        offsets_of(np.full(len(sessions.member), count)),
        sessions.items.ravel(),
        features_at(sessions.items.ravel(), np.repeat(sessions.time, count)),
        _evening(sessions.time).astype(np.float32)[:, None],
        sessions.labels.reshape(-1, tasks),
    )
    return Dataset(
        name="synthetic",
        surface=surface,
        item_ids=("", *(f"item-{number:04d}" for number in range(1, world.items + 1))),
        actions=ACTIONS,
        tasks=("click", "like") if surface == "feed" else ("click",),
        feature_names=FEATURES,
        context_names=CONTEXT,
        member_ids=tuple(f"member-{number:04d}" for number in range(world.members)),
        log=log,
        splits=split_by_time(impressions),
        features_at=features_at,
        popularity_at=popularity_at,
        item_bids=bids if surface == "ads" else None,
    )


def _draw(rng: np.random.Generator, weight: NDArray[np.float64], count: int) -> I64:
    """weight [M, items] → [M, count] distinct item rows, drawn in proportion to exp(weight) (the Gumbel trick)."""
    noise = weight + rng.gumbel(size=weight.shape)
    drawn: I64 = np.argpartition(-noise, count, axis=1)[:, :count] + 1
    return drawn


def _one_of(rng: np.random.Generator, choices: NDArray[np.bool_]) -> I64:
    """The index of one True in each row, at random."""
    chosen: I64 = np.argmax(rng.random(choices.shape) * choices, axis=1)
    return chosen


def _evening(times: I64) -> NDArray[np.float64]:
    """1 from 18:00 to 24:00 UTC, else 0."""
    return ((times % DAY_MS) >= 18 * HOUR_MS).astype(np.float64)


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-logit))
