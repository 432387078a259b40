"""Answers: from logits to the ranked list of the response. It does not know how the logits came about."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.bundle import Manifest
from service.codec import MemberHistory
from service.inputs import CandidateArrays
from service.items import Items
from service.ordering import ecpm, order, probabilities, utility
from service.schemas import AttendedAction, RankedCandidate, RankRequest


class Answer(NamedTuple):
    """chosen: [N] int64, which candidates of the request are answered, best first · ranked: the same, as answered."""

    chosen: NDArray[np.int64]
    ranked: list[RankedCandidate]


def rank_candidates(
    request: RankRequest, manifest: Manifest, candidates: CandidateArrays, logits: NDArray[np.float32]
) -> Answer:
    """Order the candidates by logits [C, K] and describe the best `request.limit` of them."""
    predictions = probabilities(logits, manifest.tasks)  # [C, K]
    bids = candidates.bids
    scores = utility(predictions, candidates.weights) if bids is None else ecpm(predictions, bids)
    best_first, rounded = order(scores)
    chosen = best_first[: request.limit]
    names = [task.name for task in manifest.tasks]
    ranked = [
        RankedCandidate(request.candidates[index].id, rank, score, dict(zip(names, row, strict=True)), unknown)
        for rank, (index, score, row, unknown) in enumerate(
            zip(
                chosen.tolist(),
                rounded[: request.limit].tolist(),
                predictions[chosen].tolist(),
                candidates.unknown[chosen].tolist(),
                strict=True,
            ),
            start=1,
        )
    ]
    if request.logits:
        for answered, row in zip(ranked, logits[chosen].tolist(), strict=True):
            answered.logits = dict(zip(names, row, strict=True))
    return Answer(chosen, ranked)


def explain(
    ranked: list[RankedCandidate],
    attention: NDArray[np.float32],
    count: int,
    history: MemberHistory,
    manifest: Manifest,
    items: Items,
) -> None:
    """Name for each answered candidate the `count` actions that drew most of its attention [N, T], largest first."""
    largest = np.argsort(-attention, axis=1, kind="stable")[:, :count]  # [N, count]
    item_rows, actions, timestamps = history.item_rows, history.actions, history.timestamps
    for answered, positions, shares in zip(ranked, largest, attention, strict=True):
        answered.explanation = [
            AttendedAction(
                position=int(position),
                item_id=items.ids[item_rows[position]] if item_rows[position] < len(items) else "",
                action=manifest.actions[actions[position]],
                timestamp=int(timestamps[position]),
                attention=float(shares[position]),
            )
            for position in positions
        ]
