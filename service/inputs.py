"""Inputs: a request and a history as checked numpy arrays. It does not know where a history comes from, or torch.

What the wire types cannot check is checked here, because it depends on the bundle: widths, names, limits. Whatever is
wrong is an InvalidRequest that names the field. Work per candidate is a column at a time; the loops that find *which*
candidate is wrong run only once it is known that one is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.bundle import UNKNOWN_ROW, Feature, Manifest
from service.codec import MemberHistory, damaged
from service.errors import InvalidRequest
from service.items import Items
from service.ordering import IMPRESSIONS_PER_PRICE
from service.schemas import Candidate, RankRequest

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class HistoryArrays(NamedTuple):
    """A member's window as the ranker reads it, oldest first.

    embeddings [T, D] f32 · actions [T] i64, indexes of the manifest's vocabulary · timestamps [T] i64 ms
    """

    embeddings: NDArray[np.float32]
    actions: NDArray[np.int64]
    timestamps: NDArray[np.int64]

    @classmethod
    def blank(cls, manifest: Manifest, length: int) -> HistoryArrays:
        """So many actions of zeros."""
        zeros = np.zeros(length, dtype=np.int64)
        return cls(np.zeros((length, manifest.embedding_dim), dtype=np.float32), zeros, zeros)

    @property
    def length(self) -> int:
        return len(self.actions)

    def part(self, chosen: slice) -> HistoryArrays:
        """Only these actions."""
        return HistoryArrays(self.embeddings[chosen], self.actions[chosen], self.timestamps[chosen])


class CandidateArrays(NamedTuple):
    """One request's candidates, in the order of the request, and what its scores need.

    embeddings [C, D] f32 · features [C, F] f32 · context [G] f32 · meta [M] f32 · request_time i64 ms ·
    unknown [C] bool, scored with the unknown item's embedding · weights [K] f64, of the tasks in the feed's utility ·
    bids [C] f64, ads only
    """

    embeddings: NDArray[np.float32]
    features: NDArray[np.float32]
    context: NDArray[np.float32]
    meta: NDArray[np.float32]
    request_time: int
    unknown: NDArray[np.bool_]
    weights: NDArray[np.float64]
    bids: NDArray[np.float64] | None

    @classmethod
    def blank(cls, manifest: Manifest, size: int) -> CandidateArrays:
        """So many candidates of zeros, without bids."""
        return cls(
            embeddings=np.zeros((size, manifest.embedding_dim), dtype=np.float32),
            features=np.zeros((size, len(manifest.features)), dtype=np.float32),
            context=np.zeros(len(manifest.context), dtype=np.float32),
            meta=np.zeros(manifest.meta_dim, dtype=np.float32),
            request_time=0,
            unknown=np.zeros(size, dtype=np.bool_),
            weights=np.zeros(len(manifest.tasks)),
            bids=None,
        )

    @property
    def size(self) -> int:
        return len(self.embeddings)

    def chosen(self, indexes: NDArray[np.int64]) -> CandidateArrays:
        """Only these candidates, in this order."""
        return self._replace(
            embeddings=self.embeddings[indexes],
            features=self.features[indexes],
            unknown=self.unknown[indexes],
            bids=None if self.bids is None else self.bids[indexes],
        )


def history_arrays(history: MemberHistory, manifest: Manifest) -> HistoryArrays:
    """The window's records as arrays. Raises HistoryDamaged for values that no event could have written."""
    embeddings = history.embeddings.astype(np.float32)
    actions = history.actions.astype(np.int64)
    if len(actions):
        if int(actions.max()) >= len(manifest.actions):
            raise damaged("action")
        if not np.isfinite(embeddings.sum()):  # float16 values cannot overflow a float32 sum; NaN and inf survive it
            raise damaged("embedding")
    return HistoryArrays(embeddings, actions, history.timestamps.astype(np.int64))


def candidate_arrays(
    request: RankRequest, manifest: Manifest, items: Items, now_ms: int, max_candidates: int
) -> CandidateArrays:
    """The request's candidates, checked against the bundle. Raises InvalidRequest.

    now_ms stands in for a missing request_time. max_candidates: the service's own limit, beside the manifest's.
    """
    candidates = request.candidates
    limit = min(manifest.max_candidates, max_candidates)
    if len(candidates) > limit:
        raise InvalidRequest("candidates", f"at most {limit} candidates, got {len(candidates)}")
    ids = [candidate.id for candidate in candidates]
    if len(set(ids)) != len(ids):
        raise _duplicate(ids)
    rows = items.rows(ids)
    embeddings = items.embeddings.take(rows, axis=0)  # [C, D]
    unknown = rows == UNKNOWN_ROW
    _override(embeddings, unknown, candidates)
    return CandidateArrays(
        embeddings=embeddings,
        features=_features(candidates, manifest.features),
        context=_named(request.context or {}, manifest.context, "context"),
        meta=np.zeros(manifest.meta_dim, dtype=np.float32),
        request_time=now_ms if request.request_time is None else request.request_time,
        unknown=unknown,
        weights=_weights(request.weights, manifest),
        bids=_bids(candidates, manifest),
    )


def _override(embeddings: NDArray[np.float32], unknown: NDArray[np.bool_], candidates: Sequence[Candidate]) -> None:
    """Put inline embeddings in the place of the table's; such a candidate is not unknown."""
    inline = [candidate.embedding for candidate in candidates]
    if inline.count(None) == len(inline):
        return
    width = embeddings.shape[1]
    places = [index for index, values in enumerate(inline) if values is not None]
    given = [values for values in inline if values is not None]
    for index, values in zip(places, given, strict=True):
        if len(values) != width:
            raise InvalidRequest(f"candidates[{index}].embedding", f"must have {width} numbers, got {len(values)}")
    embeddings[places] = _float32(given, (len(given), width), places, "embedding")
    unknown[places] = False


def _features(candidates: Sequence[Candidate], schema: Sequence[Feature]) -> NDArray[np.float32]:
    """[C, F] f32: the manifest's defaults where a candidate says nothing."""
    width = len(schema)
    given = [candidate.features for candidate in candidates]
    defaults = [feature.default for feature in schema]
    if given.count(None) == len(given):
        blank = np.empty((len(given), width), dtype=np.float32)
        blank[:] = defaults
        return blank
    names = {feature.name: column for column, feature in enumerate(schema)}
    rows = [
        defaults if values is None else _feature_row(values, names, defaults, index)
        for index, values in enumerate(given)
    ]
    return _float32(rows, (len(rows), width), range(len(rows)), "features")


def _feature_row(
    values: list[float] | dict[str, float], names: Mapping[str, int], defaults: list[float], index: int
) -> list[float]:
    if isinstance(values, list):
        if len(values) != len(defaults):
            raise InvalidRequest(
                f"candidates[{index}].features", f"must have {len(defaults)} numbers, got {len(values)}"
            )
        return values
    row = defaults.copy()
    for name, value in values.items():
        column = names.get(name)
        if column is None:
            raise InvalidRequest(f"candidates[{index}].features.{name}", "is not a feature of this model")
        row[column] = value
    return row


def _float32(
    rows: Sequence[Sequence[float]], shape: tuple[int, int], places: Sequence[int], part: str
) -> NDArray[np.float32]:
    """Rows of equal length as [N, W] f32, refusing what float32 cannot hold. places: each row's candidate."""
    wide = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=shape[0] * shape[1]).reshape(shape)
    fits = np.abs(wide) <= _FLOAT32_MAX  # NaN compares false
    if not fits.all():
        place = places[int(np.argmin(fits.all(axis=1)))]
        raise InvalidRequest(f"candidates[{place}].{part}", "numbers must be finite in 32 bits")
    return wide.astype(np.float32)


def _named(values: Mapping[str, float], schema: Sequence[Feature], field: str) -> NDArray[np.float32]:
    """Values by name as [len(schema)] f32 in the manifest's order, its defaults where one is missing."""
    _refuse_unknown(values, (feature.name for feature in schema), field)
    for name, value in values.items():
        if not abs(value) <= _FLOAT32_MAX:
            raise InvalidRequest(f"{field}.{name}", "must be finite in 32 bits")
    return np.array([values.get(feature.name, feature.default) for feature in schema], dtype=np.float32)


def _weights(weights: Mapping[str, float] | None, manifest: Manifest) -> NDArray[np.float64]:
    """[K] f64: a task that the request leaves out keeps its default. Negative ones are fine: a task may cost."""
    if weights is not None:
        if manifest.surface == "ads":
            raise InvalidRequest("weights", "ads are ordered by bid and click probability; weights are for the feed")
        _refuse_unknown(weights, (task.name for task in manifest.tasks), "weights")
    given = weights or {}
    result = [float(given.get(task.name, task.weight)) for task in manifest.tasks]
    if not math.isfinite(sum(map(abs, result))):
        raise InvalidRequest("weights", "must be finite, and so must their sum")
    return np.array(result)


def _bids(candidates: Sequence[Candidate], manifest: Manifest) -> NDArray[np.float64] | None:
    bids = [candidate.bid for candidate in candidates]
    missing = bids.count(None)
    if manifest.surface == "feed":
        if missing != len(bids):
            index = next(index for index, bid in enumerate(bids) if bid is not None)
            raise InvalidRequest(f"candidates[{index}].bid", "the feed takes no bids")
        return None
    if missing:
        raise InvalidRequest(f"candidates[{bids.index(None)}].bid", "is required for ads")
    result = np.array(bids, dtype=np.float64)
    with np.errstate(over="ignore"):
        valid = (result >= 0.0) & np.isfinite(IMPRESSIONS_PER_PRICE * result)
    if not valid.all():
        raise InvalidRequest(f"candidates[{int(np.argmin(valid))}].bid", "must not be negative or exceed 1e305")
    return result


def _refuse_unknown(given: Iterable[str], known: Iterable[str], field: str) -> None:
    unknown = set(given).difference(known)
    if unknown:
        raise InvalidRequest(f"{field}.{min(unknown)}", "is not a name that this model knows")


def _duplicate(ids: Sequence[str]) -> InvalidRequest:
    seen: set[str] = set()
    for index, item_id in enumerate(ids):
        if item_id in seen:
            return InvalidRequest(f"candidates[{index}].id", "repeats an earlier candidate")
        seen.add(item_id)
    raise AssertionError("no duplicate: this is a bug")
