"""The pieces that the OpenAPI document's paths are made of. It does not know any path."""

from __future__ import annotations

from typing import Any

from service.errors import STATUS
from service.problems import MEDIA_TYPE, TITLES, TYPE_PREFIX

REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "Names the request in answers, logs and errors; made up where it is missing or not plain.",
    "schema": {"type": "string", "maxLength": 128, "pattern": "^[A-Za-z0-9._:-]+$"},
}


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def body(name: str, examples: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": ref(name), "examples": examples}}}


def answer(name: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": ref(name)}}}


def problems(*statuses: int) -> dict[str, Any]:
    """One answer a status, with an example for each code that it may carry."""
    codes: dict[int, list[str]] = {500: ["internal"]}
    for error, status in STATUS.items():
        codes.setdefault(status, []).append(error.code)
    return {
        str(status): {
            "description": "; ".join(TITLES[code] for code in codes[status]),
            **({"headers": {"Retry-After": _RETRY_AFTER}} if status in (429, 503) else {}),
            "content": {
                MEDIA_TYPE: {
                    "schema": ref("Problem"),
                    "examples": {code: {"value": _example(code, status)} for code in codes[status]},
                }
            },
        }
        for status in statuses
    }


_RETRY_AFTER = {"description": "whole seconds to wait", "schema": {"type": "integer", "minimum": 1}}


def _example(code: str, status: int) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": TITLES[code],
        "status": status,
        "code": code,
        "detail": "…",
        "request_id": "5f0c3a52a1f64a6b",
    }
    if code == "invalid_request":
        problem |= {"field": "candidates[3].bid", "detail": "Expected `float` >= 0.0"}
    if code == "invalid_json":
        problem |= {"field": "body", "detail": "JSON is malformed: trailing characters (byte 62)"}
    return problem
