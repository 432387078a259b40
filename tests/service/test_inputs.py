"""Inputs: what a request may hold, and how it becomes arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.bundle import Feature, ItemTable, Manifest, Task
from service.codec import MemberHistory, decode_records, encode_records
from service.errors import HistoryDamaged, InvalidRequest
from service.inputs import CandidateArrays, HistoryArrays, candidate_arrays, history_arrays
from service.items import Items
from service.schemas import Candidate, RankRequest

NOW = 1_700_000_000_000


def manifest(surface: str = "feed", **changes: Any) -> Manifest:
    """Two features, one context value, two tasks (ads: one), 16 wide, at most 100 candidates."""
    tasks = (Task(name="click"), Task(name="like", weight=2.0))
    fields: dict[str, Any] = {
        "name": surface,
        "version": "1",
        "surface": surface,
        "torch_version": "2.6.0",
        "encoder": "transformer",
        "embedding_dim": 16,
        "layers": 1,
        "heads": 1,
        "ffn_dim": 1,
        "max_history": 8,
        "slack": 2,
        "max_candidates": 100,
        "tasks": tasks if surface == "feed" else tasks[:1],
        "actions": ("view", "click"),
        "features": (Feature(name="age", default=0.5), Feature(name="ctr")),
        "context": (Feature(name="hour", default=12.0),),
        "meta_dim": 3,
        "embedding_version": "v1",
    }
    return Manifest(**{**fields, **changes})


@pytest.fixture
def table(items: ItemTable) -> Items:
    return Items(items)


@pytest.fixture
def assemble(table: Items) -> Callable[..., CandidateArrays]:
    """Assemble candidates for a surface; keywords are fields of the request."""

    def build(candidates: list[Candidate], surface: str = "feed", limit: int = 1000, **request: Any) -> CandidateArrays:
        body = RankRequest("bob", surface, candidates, **request)  # type: ignore[arg-type]
        return candidate_arrays(body, manifest(surface), table, NOW, limit)

    return build


Assemble = Callable[..., CandidateArrays]


def refused(assemble: Assemble, *args: Any, **kwargs: Any) -> str:
    """The field that the refusal names."""
    with pytest.raises(InvalidRequest) as error:
        assemble(*args, **kwargs)
    return error.value.field


def test_ids_alone_take_the_tables_embeddings_and_every_default(assemble: Assemble, table: Items) -> None:
    """The common case: everything else comes from the bundle, the request time from the clock."""
    arrays = assemble([Candidate("item-2"), Candidate("nobody")])

    np.testing.assert_array_equal(arrays.embeddings, table.embeddings[[2, 0]])
    assert arrays.unknown.tolist() == [False, True]
    assert arrays.features.tolist() == [[0.5, 0.0], [0.5, 0.0]]
    assert arrays.context.tolist() == [12.0]
    assert arrays.meta.tolist() == [0.0, 0.0, 0.0]
    assert arrays.request_time == NOW
    assert arrays.weights.tolist() == [1.0, 2.0]
    assert arrays.bids is None
    for array in (arrays.embeddings, arrays.features, arrays.context, arrays.meta):
        assert array.dtype == np.float32
        assert array.flags.writeable  # torch warns about arrays that are not
        assert array.flags.c_contiguous


def test_an_inline_embedding_overrides_the_table_and_is_not_unknown(assemble: Assemble, table: Items) -> None:
    """A new item can be scored before it is in any table; its neighbours are untouched, and so is the table."""
    before = table.embeddings.copy()

    arrays = assemble([Candidate("item-1"), Candidate("new", embedding=[0.25] * 16), Candidate("item-2")])

    np.testing.assert_array_equal(arrays.embeddings[1], np.full(16, 0.25))
    np.testing.assert_array_equal(arrays.embeddings[[0, 2]], before[[1, 2]])
    np.testing.assert_array_equal(table.embeddings, before)
    assert not arrays.unknown.any()


def test_features_come_as_an_array_or_by_name_with_defaults(assemble: Assemble) -> None:
    """Both forms in one request; a name left out has the manifest's default."""
    arrays = assemble(
        [
            Candidate("a", features=[1.0, 2.0]),
            Candidate("b", features={"ctr": 3.0}),
            Candidate("c", features={}),
            Candidate("d"),
        ]
    )

    assert arrays.features.tolist() == [[1.0, 2.0], [0.5, 3.0], [0.5, 0.0], [0.5, 0.0]]


def test_context_weights_and_request_time_are_taken_from_the_request(assemble: Assemble) -> None:
    """A weight left out keeps the manifest's; a negative one is a cost."""
    arrays = assemble([Candidate("a")], context={"hour": 3.0}, weights={"click": -4.0}, request_time=7)

    assert arrays.context.tolist() == [3.0]
    assert arrays.weights.tolist() == [-4.0, 2.0]
    assert arrays.request_time == 7


def test_ads_carry_their_bids(assemble: Assemble) -> None:
    """In the request's order, as float64; zero is a bid."""
    arrays = assemble([Candidate("a", bid=0.0), Candidate("b", bid=1.5)], "ads")

    assert arrays.bids is not None
    assert arrays.bids.tolist() == [0.0, 1.5]


A, B = Candidate("a"), Candidate("b")
WIDE = [0.0] * 15


@pytest.mark.parametrize(
    ("candidates", "request_fields", "field"),
    [
        ([A, B, Candidate("a")], {}, "candidates[2].id"),
        ([Candidate(str(i)) for i in range(101)], {}, "candidates"),
        ([A, Candidate("b", embedding=WIDE)], {}, "candidates[1].embedding"),
        ([A, Candidate("b", embedding=[*WIDE, 1e39])], {}, "candidates[1].embedding"),
        ([A, Candidate("b", embedding=[*WIDE, float("nan")])], {}, "candidates[1].embedding"),
        ([A, Candidate("b", features=[1.0])], {}, "candidates[1].features"),
        ([A, Candidate("b", features=[1.0, -1e39])], {}, "candidates[1].features"),
        ([A, Candidate("b", features={"age": 1e39})], {}, "candidates[1].features"),
        ([A, Candidate("b", features={"agee": 1.0})], {}, "candidates[1].features.agee"),
        ([A, Candidate("b", bid=1.0)], {}, "candidates[1].bid"),
        ([A], {"context": {"day": 1.0}}, "context.day"),
        ([A], {"context": {"hour": 1e39}}, "context.hour"),
        ([A], {"weights": {"share": 1.0}}, "weights.share"),
        ([A], {"weights": {"click": 1e308, "like": 1e308}}, "weights"),
        ([A], {"weights": {"click": float("inf")}}, "weights"),
    ],
)
def test_a_feed_request_that_does_not_fit_the_bundle_is_refused_by_field(
    assemble: Assemble, candidates: list[Candidate], request_fields: dict[str, Any], field: str
) -> None:
    """Every refusal names the part at fault, and the first candidate that has it."""
    assert refused(assemble, candidates, **request_fields) == field


@pytest.mark.parametrize(
    ("candidates", "request_fields", "field"),
    [
        ([Candidate("a", bid=1.0), B], {}, "candidates[1].bid"),
        ([Candidate("a", bid=-1.0)], {}, "candidates[0].bid"),
        ([Candidate("a", bid=1e306)], {}, "candidates[0].bid"),
        ([Candidate("a", bid=float("nan"))], {}, "candidates[0].bid"),
        ([Candidate("a", bid=1.0)], {"weights": {"click": 1.0}}, "weights"),
    ],
)
def test_an_ads_request_that_does_not_fit_the_bundle_is_refused_by_field(
    assemble: Assemble, candidates: list[Candidate], request_fields: dict[str, Any], field: str
) -> None:
    """Ads need a bid each, and no weights."""
    assert refused(assemble, candidates, "ads", **request_fields) == field


def test_the_services_own_limit_holds_beside_the_manifests(assemble: Assemble) -> None:
    """The smaller of the two counts."""
    assert refused(assemble, [A, B], limit=1) == "candidates"


def test_no_features_in_the_manifest_make_an_empty_axis_and_refuse_values(table: Items) -> None:
    """[C, 0], not a missing array."""
    bare = manifest(features=(), context=(), meta_dim=0)

    arrays = candidate_arrays(RankRequest("bob", "feed", [A, B]), bare, table, NOW, 10)

    assert (arrays.features.shape, arrays.context.shape, arrays.meta.shape) == ((2, 0), (0,), (0,))
    empty = RankRequest("bob", "feed", [Candidate("a", features=[]), Candidate("b", features={})])
    assert candidate_arrays(empty, bare, table, NOW, 10).features.shape == (2, 0)
    with pytest.raises(InvalidRequest):
        candidate_arrays(RankRequest("bob", "feed", [Candidate("a", features=[1.0])]), bare, table, NOW, 10)


def test_chosen_candidates_keep_everything_in_the_new_order(assemble: Assemble) -> None:
    """Rows, features, flags and bids move together."""
    arrays = assemble([Candidate("item-1", bid=1.0), Candidate("x", bid=2.0, features=[7.0, 8.0])], "ads")

    chosen = arrays.chosen(np.array([1]))

    assert chosen.size == 1
    assert chosen.features.tolist() == [[7.0, 8.0]]
    assert chosen.unknown.tolist() == [True]
    assert chosen.bids is not None
    assert chosen.bids.tolist() == [2.0]


def history(actions: list[int], embeddings: np.ndarray) -> MemberHistory:
    length = len(actions)
    data = encode_records(np.arange(length), actions, np.arange(length) * 1000 + NOW, embeddings)
    return MemberHistory(1, length, 0, decode_records(data, embeddings.shape[1]))


def test_a_history_becomes_arrays_of_the_rankers_types() -> None:
    """float32 embeddings, int64 actions and timestamps; contiguous and writable."""
    embeddings = np.arange(48, dtype=np.float16).reshape(3, 16)

    arrays = history_arrays(history([0, 1, 1], embeddings), manifest())

    np.testing.assert_array_equal(arrays.embeddings, embeddings.astype(np.float32))
    assert arrays.actions.tolist() == [0, 1, 1]
    assert arrays.timestamps.tolist() == [NOW, NOW + 1000, NOW + 2000]
    assert [array.dtype for array in arrays] == [np.float32, np.int64, np.int64]
    assert all(array.flags.c_contiguous and array.flags.writeable for array in arrays)
    assert arrays.length == 3


def test_an_empty_history_has_empty_arrays() -> None:
    """A cold start is a shape, not a special case."""
    arrays = history_arrays(MemberHistory.empty(16), manifest())

    assert arrays.embeddings.shape == (0, 16)
    assert arrays.length == 0


@pytest.mark.parametrize("foreign", [np.nan, np.inf, -np.inf])
def test_a_history_with_foreign_numbers_is_damaged(foreign: float) -> None:
    """Bytes that only look like records never reach the ranker."""
    embeddings = np.zeros((2, 16), dtype=np.float16)
    embeddings[1, 3] = foreign

    with pytest.raises(HistoryDamaged):
        history_arrays(history([0, 1], embeddings), manifest())


def test_a_history_with_an_action_outside_the_vocabulary_is_damaged() -> None:
    """It would read past the ranker's table."""
    with pytest.raises(HistoryDamaged):
        history_arrays(history([0, 2], np.zeros((2, 16), dtype=np.float16)), manifest())


def test_blank_arrays_have_the_manifests_shapes() -> None:
    """What warm-up runs is shaped like what requests bring."""
    assert [array.shape for array in HistoryArrays.blank(manifest(), 5)] == [(5, 16), (5,), (5,)]
    blank = CandidateArrays.blank(manifest(), 4)
    assert (blank.embeddings.shape, blank.features.shape, blank.size) == ((4, 16), (4, 2), 4)
