"""Answers: from logits to the ranked list of the response. It does not know how the logits came about."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.bundle import Manifest
from service.codec import MemberHistory
from service.inputs import CandidateArrays
from service.items import Items
from service.ordering import ecpm, order, probabilities, utility
from service.schemas import AttendedAction, RankedCandidate, RankRequest


class Answer(NamedTuple):
    """chosen: [N] int64, which candidates of the request are answered, best first · ranked: the same, to be encoded."""

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
    ids = [candidate.id for candidate in request.candidates]
    names = tuple(task.name for task in manifest.tasks)
    ranked = list(
        map(
            RankedCandidate,
            map(ids.__getitem__, chosen.tolist()),
            range(1, len(chosen) + 1),
            rounded[: request.limit].tolist(),
            _by_name(names, predictions[chosen]),
            candidates.unknown[chosen].tolist(),
        )
    )
    if request.logits:
        for answered, named in zip(ranked, _by_name(names, logits[chosen]), strict=True):
            answered.logits = named
    return Answer(chosen, ranked)


def _by_name(names: tuple[str, ...], values: NDArray[np.float32] | NDArray[np.float64]) -> Iterator[dict[str, float]]:
    """Rows [N, K] by the tasks' names: what encodes as such a dictionary, at a quarter of what one costs to make."""
    return cast(Iterator[dict[str, float]], map(_task_values(names), *values.T.tolist()))


@lru_cache(maxsize=64)
def _task_values(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """A struct with a field a task; a name need not be one that Python takes."""
    fields = [(f"task_{index}", float) for index in range(len(names))]
    rename = {f"task_{index}": name for index, name in enumerate(names)}
    return msgspec.defstruct("TaskValues", fields, rename=rename, gc=False)


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
