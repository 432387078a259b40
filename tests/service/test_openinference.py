"""The Open Inference Protocol's model side on a running service, under load as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.client import ProblemError
from tests.live import Live
from tests.service.reloads import add, index, scores


def test_a_new_version_is_loaded_and_rolled_back(reloadable: Live, growing: Path) -> None:
    """Everything that names a version follows: answers, index, readiness, metrics, live page, metadata."""
    first = scores(reloadable)
    add(growing)
    assert index(reloadable)["feed/2"] == ("UNAVAILABLE", "not loaded")

    state = reloadable.client.load("feed")

    assert (state.name, state.version, state.state) == ("feed", "2", "READY")
    version, second = scores(reloadable)
    assert (first[0], version) == ("1", "2")
    assert second != first[1]
    assert index(reloadable)["feed/2"] == ("READY", "")
    assert index(reloadable)["feed/1"] == ("UNAVAILABLE", "not loaded")
    assert reloadable.client.ready().checks["model:feed"] == "version 2"
    assert reloadable.http.get("/v2/models/feed").json()["parameters"]["serving"] == "2"
    assert reloadable.metric("ranker_bundle_loads_total", surface="feed", result="loaded") == 2
    page = reloadable.http.get("/dashboard/data").json()["bundles"]
    assert [bundle["version"] for bundle in page if bundle["surface"] == "feed"] in (["1"], ["2"])  # read each second
    assert reloadable.http.get("/dashboard/playground").json()["surfaces"]["feed"]["version"] == "2"

    assert reloadable.client.rollback("feed").version == "1"
    assert scores(reloadable) == first
    assert reloadable.client.load("feed", "2").version == "2"


def test_an_unloaded_surface_answers_503(reloadable: Live) -> None:
    """The other one and events go on; readiness and the protocol's health say what is left."""
    reloadable.client.unload("feed")

    with pytest.raises(ProblemError) as refused:
        scores(reloadable)
    assert refused.value.problem.code == "model_unavailable"
    assert reloadable.http.get("/v2/models/feed/ready").status_code == 503
    assert reloadable.http.get("/v2/models/feed").status_code == 503
    event = {"item_id": "item-1", "action": "view", "timestamp": 1}
    assert reloadable.http.post("/v1/events", json={"member_id": "m", "events": [event]}).status_code == 200
    assert reloadable.http.get("/v2/health/ready").json() == {"ready": True}

    reloadable.client.unload("ads")
    assert reloadable.http.get("/v2/health/ready").status_code == 503
    assert reloadable.http.get("/openapi.json").status_code == 200
    assert reloadable.http.get("/dashboard/playground").json()["members"] == []

    reloadable.client.load("feed")
    assert reloadable.client.history("m").total == 1
    assert reloadable.http.get("/v2/models/feed/ready").json() == {"name": "feed", "ready": True}


def test_metadata_are_the_protocols(reloadable: Live) -> None:
    """Names, types and widths of the artifact's tensors."""
    assert reloadable.http.get("/v2").json()["extensions"] == ["model_repository"]
    assert reloadable.http.get("/v2/health/live").json() == {"live": True}
    metadata = reloadable.http.get("/v2/models/ads").json()
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("ads", ["1"], "pytorch_torchscript")
    assert {"name": "candidates", "datatype": "FP32", "shape": [-1, -1, 16]} in metadata["inputs"]
    assert metadata["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, -1, 1]}]


def test_the_index_can_be_limited_to_what_serves(reloadable: Live, growing: Path) -> None:
    """`ready: true`, as the repository extension has it; the body may be left out."""
    add(growing)

    every, ready = (
        reloadable.http.post("/v2/repository/index"),
        reloadable.http.post("/v2/repository/index", json={"ready": True}),
    )

    assert len(every.json()) == 3
    assert [(entry["name"], entry["version"]) for entry in ready.json()] == [("feed", "1"), ("ads", "1")]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("models/video/load", None, 404, "not_found"),
        ("models/feed/load", {"parameters": {"version": "9"}}, 404, "not_found"),
        ("models/feed/load", {"parameters": {"version": "../1"}}, 422, "invalid_request"),
        ("models/feed/load", {"parameters": {"version": 1}}, 422, "invalid_request"),
        ("models/feed/load", {"parameters": {"config": "{}"}}, 422, "invalid_request"),
        ("models/feed/load", [], 422, "invalid_request"),
        ("models/feed/unload", {"parameters": {"unload_dependents": 1}}, 422, "invalid_request"),
        ("models/feed/rollback", None, 404, "not_found"),
        ("index", {"ready": "yes"}, 422, "invalid_request"),
    ],
)
def test_a_wrong_request_is_a_problem(reloadable: Live, path: str, body: Any, status: int, code: str) -> None:
    """Problem documents, like everywhere in this service; and nothing has changed."""
    answer = reloadable.http.post(f"/v2/repository/{path}", **({} if body is None else {"json": body}))

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert index(reloadable)["feed/1"][0] == "READY"


def test_the_documentations_examples_follow_what_serves(reloadable: Live) -> None:
    """/openapi.json is made of what serves when it is asked for."""
    body = reloadable.http.get("/openapi.json").json()["paths"]["/v1/rank"]["post"]["requestBody"]
    assert "item-1" in json.dumps(body)

    for surface in ("feed", "ads"):
        reloadable.client.unload(surface)  # type: ignore[arg-type]

    body = reloadable.http.get("/openapi.json").json()["paths"]["/v1/rank"]["post"]["requestBody"]
    assert "item-1" not in json.dumps(body)


def test_every_route_counts_under_its_pattern(reloadable: Live) -> None:
    """As the others do."""
    httpx.get(f"{reloadable.url}/v2/models/feed")
    reloadable.http.post("/v2/repository/index")

    assert reloadable.metric("ranker_http_requests_total", route="/v2/models/{name}", status="200") == 1
    assert reloadable.metric("ranker_http_requests_total", route="/v2/repository/index", status="200") == 1
