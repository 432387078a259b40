"""The wire types, once: they decode request bodies, encode answers and give the OpenAPI schema.

Strict: unknown fields are refused, `true` is not a number, NaN and overflowing numbers are not JSON. What depends on
the loaded bundle (widths, vocabularies, limits) is checked in `inputs.py`. This module does not know HTTP.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Surface = Literal["feed", "ads"]
Mode = Literal["amortized", "non_amortized"]
HistorySource = Literal["store", "cache", "cold_start", "degraded"]

MemberId = Annotated[str, Meta(min_length=1, max_length=256, description="the member whose history is read")]
ItemId = Annotated[str, Meta(min_length=1, max_length=256)]
TimestampMs = Annotated[int, Meta(ge=0, le=2**53, description="milliseconds since 1970-01-01T00:00:00Z")]


class Candidate(Struct, forbid_unknown_fields=True, gc=False):
    """An item to be scored. `features` is an object by name, or an array in the manifest's order."""

    id: ItemId
    features: list[float] | dict[str, float] | None = None
    embedding: Annotated[list[float], Meta(description="overrides the item table's embedding")] | None = None
    bid: Annotated[float, Meta(ge=0.0, description="ads: price of a click, required")] | None = None


class RankRequest(Struct, forbid_unknown_fields=True):
    """Rank `candidates` for `member_id`. Without `request_time` the service's clock is used.

    `reuse_encoding: false` encodes the history anew although an encoding of it is kept: what a fair comparison of the
    modes needs. `logits: true` adds the ranker's own numbers, before calibration, to each candidate.
    """

    member_id: MemberId
    surface: Surface
    candidates: Annotated[list[Candidate], Meta(min_length=1)]
    mode: Mode | None = None
    limit: Annotated[int, Meta(ge=1, description="answer only the best so many")] | None = None
    weights: Annotated[dict[str, float], Meta(description="feed: task → weight in the utility")] | None = None
    context: Annotated[dict[str, float], Meta(description="request features by name")] | None = None
    request_time: TimestampMs | None = None
    explain: Annotated[int, Meta(ge=1, le=100, description="name so many actions that drew each candidate")] | None = (
        None
    )
    reuse_encoding: Annotated[bool, Meta(description="false: encode the history anew, even if a kept one fits")] = True
    logits: Annotated[bool, Meta(description="answer the uncalibrated logits as well")] = False


class PrefetchRequest(Struct, forbid_unknown_fields=True):
    """`member_id` will be ranked on `surface` soon."""

    member_id: MemberId
    surface: Surface


class AttendedAction(Struct):
    """A history action and the share of the candidate's attention that it drew (0..1)."""

    position: Annotated[int, Meta(description="0 = oldest action of the window")]
    item_id: str
    action: str
    timestamp: int
    attention: float


class RankedCandidate(Struct, omit_defaults=True, gc=False):
    """One candidate of the answer, best first. `score` orders: feed utility, or eCPM for ads."""

    id: str
    rank: int
    score: float
    predictions: dict[str, float]
    unknown_item: bool = False
    explanation: list[AttendedAction] | UnsetType = UNSET
    logits: Annotated[dict[str, float], Meta(description="task → logit, where asked for")] | UnsetType = UNSET


class ModelRef(Struct):
    name: str
    version: str


class HistoryInfo(Struct):
    """length: actions that the ranker read. source: where they came from; `degraded` = the store failed."""

    length: int
    source: HistorySource


class RankResponse(Struct):
    request_id: str
    model: ModelRef
    mode: Mode
    history: HistoryInfo
    ranked: list[RankedCandidate]


class Event(Struct, forbid_unknown_fields=True):
    """One action of a member, as it happened."""

    item_id: ItemId
    action: Annotated[str, Meta(min_length=1, max_length=64)]
    timestamp: TimestampMs


class EventsRequest(Struct, forbid_unknown_fields=True):
    member_id: MemberId
    events: Annotated[list[Event], Meta(min_length=1, max_length=1000)]


class EventsResponse(Struct):
    """appended: how many of this batch; total: actions ever appended; replayed: the batch had been stored before."""

    appended: int
    total: int
    replayed: bool


class HistoryAction(Struct):
    item_id: str
    action: str
    timestamp: int


class HistoryResponse(Struct):
    """A member's stored log, oldest first. total counts actions ever appended, trimmed ones included."""

    member_id: str
    total: int
    actions: list[HistoryAction]


class Problem(Struct, omit_defaults=True):
    """RFC 9457 problem details. `code` is stable; `field` is the JSON path at fault, where there is one."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    field: str | UnsetType = UNSET


class Health(Struct):
    status: Literal["ok", "unavailable"]
    checks: dict[str, str] = {}


class IndexRequest(Struct, forbid_unknown_fields=True):
    """ready: only versions that serve."""

    ready: bool = False


class ModelState(Struct):
    """A version in the repository. READY: it serves. reason: why it does not, or why it could not be loaded again."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class LoadParameters(Struct, frozen=True, forbid_unknown_fields=True):
    version: Annotated[str, Meta(pattern="^[0-9]{1,18}$", description="default: the newest")] | None = None


class LoadRequest(Struct, forbid_unknown_fields=True):
    parameters: LoadParameters = LoadParameters()


class UnloadParameters(Struct, frozen=True, forbid_unknown_fields=True):
    unload_dependents: Annotated[bool, Meta(description="accepted; no model has any")] = False


class UnloadRequest(Struct, forbid_unknown_fields=True):
    parameters: UnloadParameters = UnloadParameters()


class ServerMetadata(Struct):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Struct):
    """shape: -1 where it varies."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """versions: in the repository, of which `parameters.serving` answers. inputs, outputs: of the artifact."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str | int]


class ServerLive(Struct):
    live: bool


class ServerReady(Struct):
    ready: bool


class ModelReady(Struct):
    name: str
    ready: bool
