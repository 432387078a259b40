"""Sample requests: the test split's own, filled up, in the service's wire form."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from model.bundle import Surface
from model.datasets.base import Dataset
from model.datasets.synthetic import World, load_synthetic
from model.histories_file import history_ends
from model.requests_file import sample_requests, write_requests
from service.schemas import RankRequest

WORLD = World(members=20, items=200, sessions=8)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A small synthetic ads surface."""
    return load_synthetic("ads", seed=2, world=WORLD)


@pytest.mark.parametrize("surface", ["feed", "ads"])
def test_the_service_takes_every_line(tmp_path: Path, surface: Surface) -> None:
    """The file decodes, strictly, as the service's own request type."""
    path = tmp_path / "requests.jsonl"
    write_requests(path, sample_requests(load_synthetic(surface, 2, WORLD), requests=5, candidates=64, seed=0))
    decoded = [msgspec.json.decode(line, type=RankRequest) for line in path.read_bytes().splitlines()]

    assert len(decoded) == 5
    for request in decoded:
        assert request.surface == surface
        assert len({candidate.id for candidate in request.candidates}) == len(request.candidates) == 64
        assert all((candidate.bid is not None) == (surface == "ads") for candidate in request.candidates)


def test_requests_hold_what_was_shown_and_nothing_the_member_has_seen(dataset: Dataset) -> None:
    """The impression's own candidates are among them; the rest are items new to the member."""
    test = dataset.splits["test"]
    for request in sample_requests(dataset, requests=5, candidates=64, seed=0):
        member = dataset.member_ids.index(request["member_id"])
        row = np.flatnonzero(test.member == member)[-1]
        shown = test.candidate_items[test.candidate_offsets[row] : test.candidate_offsets[row + 1]]
        ids = {candidate["id"] for candidate in request["candidates"]}
        begin = dataset.log.offsets[member]
        seen = {dataset.item_ids[item] for item in dataset.log.items[begin : begin + test.history_end[row]]}
        own = {dataset.item_ids[item] for item in shown}

        assert request["request_time"] == test.request_time[row]
        assert own <= ids
        assert not (ids - own) & seen


def test_where_new_items_run_out_the_member_is_asked_about_old_ones(dataset: Dataset) -> None:
    """A request is as long as asked for, up to the whole item table, and names no item twice."""
    for request in sample_requests(dataset, requests=3, candidates=500, seed=0):
        ids = [candidate["id"] for candidate in request["candidates"]]

        assert sorted(ids) == sorted(dataset.item_ids[1:])


def test_features_are_as_of_the_request(dataset: Dataset) -> None:
    """A filled-up candidate has the features that it had at that moment."""
    request = sample_requests(dataset, requests=1, candidates=64, seed=0)[0]
    rows = np.array([dataset.item_ids.index(candidate["id"]) for candidate in request["candidates"]])
    expected = dataset.features_at(rows, np.full(len(rows), request["request_time"]))
    found = [[candidate["features"][name] for name in dataset.feature_names] for candidate in request["candidates"]]

    assert np.array_equal(np.array(found, dtype=np.float32), expected)


def test_sampled_members_have_real_histories_in_the_histories_file(dataset: Dataset) -> None:
    """The file's history of a sampled member ends exactly where the request begins, and is among the longest."""
    ends = history_ends(dataset)
    test = dataset.splits["test"]
    for request in sample_requests(dataset, requests=3, candidates=16, seed=0):
        member = dataset.member_ids.index(request["member_id"])
        assert ends[member] == test.history_end[np.flatnonzero(test.member == member)[-1]] > 0


def test_the_seed_decides_the_sample(dataset: Dataset) -> None:
    """The same seed writes the same file."""
    first, again, other = (json.dumps(sample_requests(dataset, 3, 32, seed)) for seed in (0, 0, 1))

    assert first == again != other
