"""Every way a request can fail, closed and typed. It does not know HTTP's body format, Redis or torch.

    RankonceError
    ├── InvalidRequest        422  what the caller sent cannot be ranked; `field` names the part
    │   ├── InvalidJson       422  the body is not JSON at all (or not UTF-8, or nested too deeply)
    │   └── IdempotencyConflict 422 the Idempotency-Key came with other events before
    ├── BodyTooLarge          413  the body is longer than the limit
    ├── UnsupportedMediaType  415  the body is not application/json
    ├── Unauthorized          401  keys are asked for, and none that is known was sent
    ├── Forbidden             403  the key is known and lacks the scope
    ├── NotFound              404  no such member history, model or path
    ├── BundleRefused         409  the bundle must not serve; the one before serves on
    ├── Overloaded            429  there is no room for it: retry after `retry_after_seconds`
    │   ├── NoTime            429  what is ahead of it would take too long
    │   └── RateLimited       429  the key's own rate is used up
    ├── DeadlineExceeded      504  the answer would have come too late
    ├── Unavailable           503  something the request needs is not there now
    │   ├── StoreUnavailable  503  the history store did not answer in time, or refused
    │   │   └── NotReplicated 503  too few replicas had a write in time: it may be kept or not
    │   ├── HistoryDamaged    503  a member's log holds foreign, truncated or misaligned bytes
    │   └── ModelUnavailable  503  no ranker is loaded for the surface
    └── InferenceFailed       500  the ranker raised, or gave a score that is not finite

`STATUS` maps each class to its status; `code` is stable and is what a caller should branch on.
"""

from __future__ import annotations

from typing import Literal


class RankonceError(Exception):
    """Base of all. `detail` is for the caller: never a stack, a secret or a member id."""

    code = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidRequest(RankonceError):
    """`field` is a JSON path such as `candidates[3].bid`."""

    code = "invalid_request"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


class InvalidJson(InvalidRequest):
    code = "invalid_json"

    def __init__(self, detail: str) -> None:
        super().__init__("body", detail)


class IdempotencyConflict(InvalidRequest):
    code = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__("Idempotency-Key", "came with other events within the last 24 hours: give each batch its own")


class BodyTooLarge(RankonceError):
    code = "body_too_large"


class UnsupportedMediaType(RankonceError):
    code = "unsupported_media_type"


class Unauthorized(RankonceError):
    code = "unauthorized"


class Forbidden(RankonceError):
    code = "forbidden"


class NotFound(RankonceError):
    code = "not_found"


class BundleRefused(RankonceError):
    """`detail` is for the operator who asked: it names the file and what is wrong with it."""

    code = "bundle_refused"


class Overloaded(RankonceError):
    """reason: what ran out."""

    code = "overloaded"
    reason: Literal["permits", "wait"] = "permits"

    def __init__(self, detail: str, retry_after_seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class NoTime(Overloaded):
    """It would have to wait for longer than it may."""

    code = "no_time"
    reason = "wait"


class RateLimited(Overloaded):
    code = "rate_limited"


class DeadlineExceeded(RankonceError):
    code = "deadline_exceeded"


class Unavailable(RankonceError):
    code = "unavailable"


class StoreUnavailable(Unavailable):
    code = "store_unavailable"


class NotReplicated(StoreUnavailable):
    code = "not_replicated"


class HistoryDamaged(Unavailable):
    code = "history_damaged"


class ModelUnavailable(Unavailable):
    code = "model_unavailable"


class InferenceFailed(RankonceError):
    code = "inference_failed"


STATUS: dict[type[RankonceError], int] = {
    InvalidRequest: 422,
    InvalidJson: 422,
    IdempotencyConflict: 422,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    BundleRefused: 409,
    Overloaded: 429,
    NoTime: 429,
    RateLimited: 429,
    DeadlineExceeded: 504,
    Unavailable: 503,
    StoreUnavailable: 503,
    NotReplicated: 503,
    HistoryDamaged: 503,
    ModelUnavailable: 503,
    InferenceFailed: 500,
}
