"""The seeded workload."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from loadtests.catalog import Catalog
from loadtests.workload import NOW_MS, Plan, Workload
from service.schemas import RankRequest


def decoded(workload: Workload, surface: str, mode: str) -> list[RankRequest]:
    """The requests as the service will read them."""
    return [msgspec.json.decode(call.body, type=RankRequest) for call in workload.calls(surface, mode)]


def test_equal_plans_give_equal_bytes(catalog: Catalog, workload: Workload, tmp_path: Path) -> None:
    """Requests and histories are determined by the plan alone; another seed gives others."""
    again, other = Workload(catalog, workload.plan), Workload(catalog, Plan(seed=4, members=40, requests=60))
    for name, each in (("a", workload), ("b", again), ("c", other)):
        each.write_histories(tmp_path / name)

    assert workload.calls("ads", "amortized") == again.calls("ads", "amortized")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert workload.calls("ads", "amortized") != other.calls("ads", "amortized")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_both_modes_ask_the_same(workload: Workload) -> None:
    """But for the mode, the requests of the two modes are equal."""
    amortized, other = decoded(workload, "feed", "amortized"), decoded(workload, "feed", "non_amortized")

    assert {request.mode for request in amortized} == {"amortized"}
    assert {request.mode for request in other} == {"non_amortized"}
    for request in (*amortized, *other):
        request.mode = None
    assert amortized == other


def test_requests_are_ones_that_the_bundle_takes(workload: Workload, catalog: Catalog) -> None:
    """Distinct candidates, features of the right width, bids for ads only, times after every history."""
    for surface, facts in catalog.surfaces.items():
        for request in decoded(workload, surface, "amortized"):
            ids = [candidate.id for candidate in request.candidates]
            assert len(set(ids)) == len(ids) <= facts.max_candidates
            assert all(len(candidate.features or ()) == facts.features for candidate in request.candidates)
            assert all((candidate.bid is not None) == (surface == "ads") for candidate in request.candidates)
            assert request.context is not None
            assert tuple(request.context) == facts.context
            assert request.request_time is not None
            assert request.request_time >= NOW_MS


def test_calls_describe_their_bodies(workload: Workload) -> None:
    """What an answer is checked against is what was asked."""
    calls = workload.calls("feed", "amortized")
    for call, request in zip(calls, decoded(workload, "feed", "amortized"), strict=True):
        member = int(request.member_id.removeprefix("load-"))
        assert call.candidates == {candidate.id for candidate in request.candidates}
        assert call.history == workload.shapes.history[member]


def test_replayed_counts_reach_the_requests(catalog: Catalog, made_up_folder: Path) -> None:
    """With data, each request has the candidate count of an impression; a fixed count wins over both."""
    plan = Plan(seed=1, members=6, requests=6, data=made_up_folder)
    fixed = Plan(seed=1, members=6, requests=6, data=made_up_folder, candidates=7)

    counts = [len(call.candidates) for call in Workload(catalog, plan).calls("feed", "amortized")]

    assert sorted(counts) == [1, 1, 3, 3, 4, 4]
    assert {len(call.candidates) for call in Workload(catalog, fixed).calls("feed", "amortized")} == {7}


def test_more_candidates_than_items_are_filled_with_unseen_ones(catalog: Catalog) -> None:
    """A small item table does not shrink the requests."""
    plan = Plan(seed=1, members=2, requests=3, candidates=80)
    for call in Workload(catalog, plan).calls("feed", "amortized"):
        assert len(call.candidates) == 80
        assert len(call.candidates & set(catalog.any.items)) == len(catalog.any.items)


def test_members_return_as_zipf_says(catalog: Catalog) -> None:
    """The first of 100 members sends a fifth of the requests (1/H(100) = 0.193), the tenth a tenth of that."""
    members = Counter(
        request.member_id
        for request in decoded(Workload(catalog, Plan(members=100, requests=4000, candidates=1)), "feed", "amortized")
    )

    assert abs(members["load-000000"] / 4000 - 0.193) < 0.03
    assert abs(members["load-000009"] / 4000 - 0.0193) < 0.01


def test_histories_are_as_long_as_planned_and_in_order(workload: Workload, tmp_path: Path) -> None:
    """A member's line has its number of actions, oldest first, all before any request; no actions, no line."""
    written = workload.write_histories(tmp_path / "histories.jsonl")
    lines = [msgspec.json.decode(line) for line in (tmp_path / "histories.jsonl").read_bytes().splitlines()]

    lengths = {workload.member_id(i): n for i, n in enumerate(workload.shapes.history.tolist()) if n}
    assert {line["member_id"]: len(line["events"]) for line in lines} == lengths
    assert written == len(lengths)
    for line in lines:
        times = [event["timestamp"] for event in line["events"]]
        assert np.all(np.diff(times) > 0)
        assert times[-1] < NOW_MS


def test_only_a_fresh_encoding_is_said_in_the_body(workload: Workload) -> None:
    """`reuse_encoding` is sent where it differs from the service's default."""
    (kept, *_), (fresh, *_) = (workload.calls("feed", "amortized", reuse_encoding=reuse) for reuse in (True, False))

    assert b"reuse_encoding" not in kept.body
    assert b'"reuse_encoding":false' in fresh.body
