"""Problems: from errors to RFC 9457 problem documents. It does not know routes, or who sends the answer.

`code` is what a caller branches on; `detail` is for people. Nothing here ever carries an exception's own text: an
error that is not one of ours becomes `internal`, and its story goes to the log.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from service.errors import STATUS, InvalidRequest, Overloaded, RankonceError
from service.schemas import Problem

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:rankonce:problem:"

TITLES = {
    "invalid_request": "The request is invalid",
    "invalid_json": "The body is not valid JSON",
    "idempotency_conflict": "The Idempotency-Key belongs to other events",
    "body_too_large": "The body is too large",
    "unsupported_media_type": "The media type is not supported",
    "unauthorized": "An API key is needed",
    "forbidden": "The API key does not allow this",
    "not_found": "There is no such thing",
    "malformed_request": "That is not HTTP",
    "request_timeout": "The request took too long to arrive",
    "headers_too_large": "The request's head is too large",
    "method_not_allowed": "The method is not allowed here",
    "bundle_refused": "The bundle is refused",
    "overloaded": "The service is overloaded",
    "no_time": "The wait would be too long",
    "rate_limited": "The API key is used too often",
    "deadline_exceeded": "The deadline passed",
    "unavailable": "The service is unavailable",
    "store_unavailable": "The history store is unavailable",
    "not_replicated": "The write may be lost",
    "history_damaged": "The member's history is damaged",
    "model_unavailable": "The model is unavailable",
    "inference_failed": "The inference failed",
    "internal": "Something went wrong inside the service",
    "http_error": "The request was refused",
}

_STATUS_CODES = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    431: "headers_too_large",
    503: "unavailable",
}
_RETRY_AFTER_SECONDS = 1.0  # of a 503, whose end nobody knows
_MAX_FIELD = 300  # a path may hold the caller's own words
_encoder = msgspec.json.Encoder()


class ProblemAnswer(NamedTuple):
    """A finished HTTP answer: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes


def status_of(error: RankonceError) -> int:
    """The status of the error's class, or of its nearest mapped ancestor."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def of_error(error: RankonceError, request_id: str) -> ProblemAnswer:
    status = status_of(error)
    headers = {}
    if isinstance(error, Overloaded):
        headers["retry-after"] = _whole_seconds(error.retry_after_seconds)
    elif status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="rankonce"'
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = _whole_seconds(_RETRY_AFTER_SECONDS)
    field = error.field[:_MAX_FIELD] if isinstance(error, InvalidRequest) else UNSET
    return _answer(status, error.code, error.detail, request_id, headers, field)


def of_status(status: int, request_id: str, allow: str | None = None) -> ProblemAnswer:
    """What is refused before anything of ours is asked: by the router, or by the connection."""
    code = _STATUS_CODES.get(status, "http_error" if status < 500 else "internal")
    detail = HTTPStatus(status).description or HTTPStatus(status).phrase
    return _answer(status, code, detail, request_id, {"allow": allow} if allow else {}, UNSET)


def internal(request_id: str) -> ProblemAnswer:
    """An exception that is not one of ours. The request id leads to its text in the log."""
    return _answer(500, "internal", "An unexpected error; the log has it under the request id.", request_id, {}, UNSET)


def _answer(
    status: int, code: str, detail: str, request_id: str, headers: dict[str, str], field: str | msgspec.UnsetType
) -> ProblemAnswer:
    body = _encoder.encode(Problem(TYPE_PREFIX + code, TITLES[code], status, code, detail, request_id, field))
    return ProblemAnswer(status, {"content-type": MEDIA_TYPE, "cache-control": "no-store", **headers}, body)


def _whole_seconds(seconds: float) -> str:
    return str(max(1, math.ceil(seconds)))
