"""Sample rank requests from the test split, as the service takes them, one JSON object a line.

A real impression holds a handful of candidates; a ranker is asked about many. So each request keeps the candidates that
were shown and is filled up with other items, those new to the member first, all with their features as of the request's
time. It does not know the service, whose wire form it writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from model.datasets.base import Dataset


def sample_requests(dataset: Dataset, requests: int, candidates: int, seed: int) -> list[dict[str, Any]]:
    """The last test request of each of the members with the longest histories then, in the wire form of POST /v1/rank.

    Together with the histories of `histories_file` each is exactly what an offline evaluation sees.
    """
    test = dataset.splits["test"]
    last = {int(member): row for row, member in enumerate(test.member)}  # in order of time: the last stays
    rows = sorted(last.values(), key=lambda row: (-int(test.history_end[row]), row))[:requests]
    rng = np.random.default_rng(seed)
    return [_request(dataset, row, candidates, rng) for row in rows]


def write_requests(path: Path, requests: list[dict[str, Any]]) -> None:
    """JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(request, ensure_ascii=False) + "\n" for request in requests), encoding="utf-8")


def _request(dataset: Dataset, row: int, candidates: int, rng: np.random.Generator) -> dict[str, Any]:
    test, log = dataset.splits["test"], dataset.log
    member = int(test.member[row])
    shown = test.candidate_items[test.candidate_offsets[row] : test.candidate_offsets[row + 1]]
    begin = log.offsets[member]
    seen = log.items[begin : begin + test.history_end[row]]
    new = np.setdiff1d(np.arange(1, len(dataset.item_ids)), np.union1d(shown, seen))
    met = np.setdiff1d(seen, shown)  # only where new items run out
    fill = np.concatenate([rng.permutation(new), rng.permutation(met)])[: max(0, candidates - len(shown))]
    items = rng.permutation(np.concatenate([shown, fill]))
    time = int(test.request_time[row])
    features = dataset.features_at(items, np.full(len(items), time))
    listed: list[dict[str, Any]] = []
    for item, values in zip(items.tolist(), features.tolist(), strict=True):
        candidate = {"id": dataset.item_ids[item], "features": dict(zip(dataset.feature_names, values, strict=True))}
        if dataset.item_bids is not None:
            candidate["bid"] = float(dataset.item_bids[item])
        listed.append(candidate)
    return {
        "member_id": dataset.member_ids[member],
        "surface": dataset.surface,
        "candidates": listed,
        "context": dict(zip(dataset.context_names, test.context[row].tolist(), strict=True)),
        "request_time": time,
    }
