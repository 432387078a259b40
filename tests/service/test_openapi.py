"""The OpenAPI document: equal to the committed one, complete, and with examples that work.

To renew the committed file after a wanted change: `python -m tests.service.test_openapi`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service import openapi
from service.errors import STATUS
from service.openinference import admin, metadata
from service.problems import TITLES
from service.routes import often, router
from service.schemas import EventsRequest, EventsResponse, PrefetchRequest, Problem, RankRequest, RankResponse
from tests.live import Live

GOLDEN = Path(__file__).with_name("openapi.json")
WIRE = {
    "/v1/rank": (RankRequest, RankResponse),
    "/v1/prefetch": (PrefetchRequest, None),
    "/v1/events": (EventsRequest, EventsResponse),
}
"""What a path takes and answers; None: 202 and nothing."""


def document() -> str:
    return json.dumps(openapi.document("0"), indent=2, ensure_ascii=False) + "\n"


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def examples(served: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(path, body) of each request example."""
    return [
        (path, example["value"])
        for path in WIRE
        for example in served["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"].values()
    ]


def test_the_document_is_the_committed_one() -> None:
    """The interface does not change by accident; the module docstring says how to change it on purpose."""
    assert document() == GOLDEN.read_text()


def test_every_reference_leads_somewhere() -> None:
    """No schema is named and missing."""
    served = openapi.document("0")
    for node in walk(served):
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/components/schemas/") in served["components"]["schemas"]


def test_every_route_is_documented_and_every_documented_path_exists() -> None:
    """The document is written by hand beside the routes, so they are compared."""
    routes = {
        (re.sub(r":\w+", "", route.path), method.lower())
        for route in (*often, *router.routes, *metadata.routes, *admin.routes)
        for method in route.methods  # type: ignore[attr-defined]
    }
    documented = {(path, method) for path, item in openapi.document("0")["paths"].items() for method in item}

    assert documented == routes


def test_every_status_of_an_error_is_documented_for_ranking() -> None:
    """Whatever the error tree can answer, the rank path shows, but 404 and 409: it names no resource and loads no
    bundle."""
    responses = openapi.document("0")["paths"]["/v1/rank"]["post"]["responses"]

    assert set(responses) == {str(status) for status in STATUS.values()} - {"404", "409"} | {"200"}


def test_problem_examples_are_problems() -> None:
    """Each example decodes as the wire type and has its code's title."""
    for node in walk(openapi.document("0")["paths"]):
        for example in node.get("application/problem+json", {}).get("examples", {}).values():
            problem = msgspec.convert(example["value"], Problem, strict=True)
            assert problem.title == TITLES[problem.code]


def test_the_served_examples_work(live: Live) -> None:
    """Each example that /docs offers is accepted by the service that offers it, with items and actions it knows."""
    served = live.http.get("/openapi.json").json()
    tried = examples(served)

    assert len(tried) >= 4
    for path, body in tried:
        answer = live.http.post(path, json=body)
        request, response = WIRE[path]
        assert answer.status_code == (200 if response else 202), answer.text
        msgspec.convert(body, request, strict=True)
        if response is None:
            assert answer.content == b""
            continue
        decoded = msgspec.json.decode(answer.content, type=response, strict=True)
        assert not any(c.unknown_item for c in getattr(decoded, "ranked", ()))


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect"])
def test_the_docs_need_no_outside_host(live: Live, path: str) -> None:
    """The page names no other host, and what it loads is served here."""
    page = live.http.get(path)

    assert page.status_code == 200
    assert re.findall(r"https?://", page.text) == []
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert live.http.get(asset).status_code == 200, asset


if __name__ == "__main__":
    GOLDEN.write_text(document())
