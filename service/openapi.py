"""The OpenAPI document, built from the wire types: paths, schemas and examples that work. It does not know FastAPI.

The examples are data, not prose: a test sends each to a running service and checks the answer against the schema.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from service import access, openapi_models
from service.openapi_parts import REQUEST_ID as _REQUEST_ID
from service.openapi_parts import answer as _json
from service.openapi_parts import body as _body
from service.openapi_parts import problems as _problems
from service.schemas import (
    EventsRequest,
    EventsResponse,
    Health,
    HistoryResponse,
    IndexRequest,
    LoadRequest,
    ModelMetadata,
    ModelReady,
    ModelState,
    PrefetchRequest,
    Problem,
    RankRequest,
    RankResponse,
    ServerLive,
    ServerMetadata,
    ServerReady,
    UnloadRequest,
)

_TYPES = (
    *(RankRequest, RankResponse, PrefetchRequest, EventsRequest, EventsResponse, HistoryResponse, Health, Problem),
    *(IndexRequest, LoadRequest, UnloadRequest, ModelState, ModelMetadata, ModelReady),
    *(ServerMetadata, ServerLive, ServerReady),
)
_DESCRIPTION = """\
Ranks feed and ads candidates for a member with a deep ranker over the member's recent actions. The history is encoded
once and every candidate attends to it (`amortized`); the same scores can be computed the slow way (`non_amortized`).

Bodies are strict: unknown fields are refused, `true` is not a number, NaN and numbers beyond float64 are not JSON.
Every error is `application/problem+json` with a stable `code`; so is what a client is told before any operation is
asked: 400 for what is not HTTP, 408 for a request that takes too long to arrive, 431 for a head without end, 503 when
too many are connected.
"""


class Vocabulary(NamedTuple):
    """What the examples are made of: actions and (three) item ids that the loaded bundles know."""

    actions: tuple[str, ...] = ("view",)
    items: tuple[str, ...] = ("50", "172", "181")


def rank_examples(vocabulary: Vocabulary) -> dict[str, dict[str, Any]]:
    items = vocabulary.items
    feed = {"member_id": "42", "surface": "feed", "candidates": [{"id": item} for item in items]}
    bids = [{"id": item, "bid": bid} for item, bid in zip(items, (0.35, 1.2, 0.8), strict=False)]
    ads = {"member_id": "42", "surface": "ads", "candidates": bids, "limit": 1}
    return {
        "feed": {"summary": "Rank items of the feed", "value": feed},
        "ads": {"summary": "The best ad by expected revenue", "value": ads},
        "comparison": {
            "summary": "The feed request the slow way, with its logits",
            "value": {**feed, "mode": "non_amortized", "logits": True},
        },
    }


def prefetch_examples() -> dict[str, dict[str, Any]]:
    return {"feed": {"summary": "A feed request will follow", "value": {"member_id": "42", "surface": "feed"}}}


def events_examples(vocabulary: Vocabulary) -> dict[str, dict[str, Any]]:
    event = {"item_id": vocabulary.items[0], "action": vocabulary.actions[0], "timestamp": 893286639000}
    return {"one": {"summary": "A member did something", "value": {"member_id": "42", "events": [event]}}}


_RANK_PROBLEMS = (413, 415, 422, 429, 500, 503, 504)
_API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "Only where the service is given a file of keys. `X-API-Key` may be sent instead.",
}
_TRACEPARENT = {
    "name": "traceparent",
    "in": "header",
    "description": "The caller's place in its trace (W3C Trace Context). With tracing on, `traceresponse` answers it.",
    "schema": {"type": "string"},
}
_DEADLINE = {
    "name": "X-Request-Deadline-Ms",
    "in": "header",
    "description": "How long the caller waits, in ms from receipt. After that: 504, and what has not begun never does.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,8}$"},
}
_SHADOW = {
    "name": "X-Rankonce-Shadow",
    "in": "header",
    "description": "1: run the request again in both modes once it is answered, and compare. 0: do not. Else: chance.",
    "schema": {"type": "string", "enum": ["0", "1"]},
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A batch repeated under its key within 24 hours is stored once and gets the first answer again. "
    "A key that comes with other events is refused with the code `idempotency_conflict`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_MEMBER_ID = {
    "name": "member_id",
    "in": "path",
    "required": True,
    "description": "Any text, percent-encoded.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
}


def document(version: str, vocabulary: Vocabulary | None = None) -> dict[str, Any]:
    """The whole document; with the loaded bundles' vocabulary its examples are ones that they accept."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rankonce",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "ranking", "description": "Order candidates for a member"},
            {"name": "members", "description": "What a member did: append, inspect, erase"},
            {
                "name": "models",
                "description": "Which versions there are, load, unload (Open Inference Protocol)",
            },
            {"name": "operation", "description": "Health, readiness, metrics"},
        ],
        "paths": _guarded({**_paths(vocabulary or Vocabulary()), **openapi_models.paths()}),
        "components": {"schemas": _schemas(), "securitySchemes": {"apiKey": _API_KEY}},
    }


def _guarded(paths: dict[str, Any]) -> dict[str, Any]:
    """Adds the scope that each operation needs where keys are asked for, and how it is refused without."""
    for path, operations in paths.items():
        scope = access.needed(path)
        for operation in operations.values() if scope else ():
            operation["security"] = [{}, {"apiKey": [scope]}]
            operation["responses"] = dict(sorted((operation["responses"] | _problems(401, 403, 429)).items()))
    return paths


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    return dict(sorted(schemas.items()))


def _paths(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "/v1/rank": {
            "post": {
                "operationId": "rank",
                "tags": ["ranking"],
                "summary": "Rank candidates",
                "description": (
                    "Candidates are ids of the bundle's item table; an `embedding` overrides it, and an unknown id is "
                    "ranked as the learned unknown item and flagged. A feed is ordered by the weighted sum of the "
                    "tasks' probabilities, ads by 1000 · bid · click probability. `Server-Timing` tells the stages."
                ),
                "parameters": [_DEADLINE, _SHADOW, _REQUEST_ID, _TRACEPARENT],
                "requestBody": _body("RankRequest", rank_examples(vocabulary)),
                "responses": {"200": _json("RankResponse", "The candidates, best first"), **_problems(*_RANK_PROBLEMS)},
            }
        },
        "/v1/prefetch": {
            "post": {
                "operationId": "prefetch",
                "tags": ["ranking"],
                "summary": "Encode a member's history before it is ranked",
                "description": (
                    "A hint, for example while candidates are still being retrieved. It answers before anything is "
                    "done, takes no thread that a ranking needs, and is dropped where too many wait; "
                    "`ranker_prefetch_total` counts what became of it. No answer changes by it, only its latency."
                ),
                "parameters": [_REQUEST_ID],
                "requestBody": _body("PrefetchRequest", prefetch_examples()),
                "responses": {"202": {"description": "Heard"}, **_problems(413, 415, 422, 500, 503)},
            }
        },
        "/v1/events": {
            "post": {
                "operationId": "appendEvents",
                "tags": ["members"],
                "summary": "Append actions to a member's history",
                "description": (
                    "A ranking that starts after the answer sees them. After a 503, or no answer at all, they may be "
                    "stored or not: send them again, with the same Idempotency-Key, and they are stored once."
                ),
                "parameters": [_IDEMPOTENCY_KEY, _REQUEST_ID],
                "requestBody": _body("EventsRequest", events_examples(vocabulary)),
                "responses": {
                    "200": _json("EventsResponse", "Stored"),
                    **_problems(413, 415, 422, 500, 503),
                },
            }
        },
        "/v1/members/{member_id}/history": {
            "get": {
                "operationId": "history",
                "tags": ["members"],
                "summary": "Inspect a member's stored history",
                "parameters": [_MEMBER_ID, _REQUEST_ID],
                "responses": {
                    "200": _json("HistoryResponse", "The stored log, oldest action first; empty for a new member"),
                    **_problems(422, 500, 503),
                },
            },
            "delete": {
                "operationId": "eraseHistory",
                "tags": ["members"],
                "summary": "Erase a member's history",
                "parameters": [_MEMBER_ID, _REQUEST_ID],
                "responses": {
                    "204": {"description": "Nothing is stored of this member any more"},
                    **_problems(422, 500, 503),
                },
            },
        },
        "/healthz": {
            "get": {
                "operationId": "alive",
                "tags": ["operation"],
                "summary": "Is the process alive?",
                "responses": {"200": _json("Health", "Yes")},
            }
        },
        "/readyz": {
            "get": {
                "operationId": "ready",
                "tags": ["operation"],
                "summary": "Should requests be sent here?",
                "description": "Bundles loaded and warmed, history store reachable, not draining.",
                "responses": {"200": _json("Health", "Yes"), "503": _json("Health", "Not now; `checks` says why")},
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "tags": ["operation"],
                "summary": "Prometheus or OpenMetrics text, by the Accept header",
                "responses": {
                    "200": {
                        "description": "All metrics",
                        "content": {
                            "text/plain": {"schema": {"type": "string"}},
                            "application/openmetrics-text": {"schema": {"type": "string"}},
                        },
                    }
                },
            }
        },
    }
