"""The Open Inference Protocol's paths in the OpenAPI document. It does not know the others, or FastAPI."""

from __future__ import annotations

from typing import Any, get_args

from service.openapi_parts import REQUEST_ID, answer, body, problems
from service.schemas import Surface

_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The model of a surface has the surface's name.",
    "schema": {"type": "string", "enum": list(get_args(Surface))},
}
_LIST = {"type": "array", "items": {"$ref": "#/components/schemas/ModelState"}}


def paths() -> dict[str, Any]:
    return {
        "/v2": {"get": _get("serverMetadata", "Server metadata", answer("ServerMetadata", "What runs here"))},
        "/v2/health/live": {"get": _get("serverLive", "Is the process alive?", answer("ServerLive", "Yes"))},
        "/v2/health/ready": {
            "get": _get(
                "serverReady",
                "Should requests be sent here?",
                answer("ServerReady", "Yes"),
                {"503": answer("ServerReady", "Not now; /readyz says why")},
            )
        },
        "/v2/models/{name}": {
            "get": _get(
                "modelMetadata",
                "Versions, and the artifact's inputs and outputs",
                answer("ModelMetadata", "Of the version that serves"),
                problems(404, 503),
                of_model=True,
            )
        },
        "/v2/models/{name}/ready": {
            "get": _get(
                "modelReady",
                "Does a version of this model serve?",
                answer("ModelReady", "Yes"),
                {**problems(404), "503": answer("ModelReady", "No")},
                of_model=True,
            )
        },
        "/v2/repository/index": {
            "post": {
                **_head("repositoryIndex", "Every version in the repository, its state, and why"),
                "requestBody": _optional("IndexRequest", {"ready": {"value": {"ready": True}}}),
                "responses": {
                    "200": {"description": "Oldest first", "content": {"application/json": {"schema": _LIST}}},
                    **problems(413, 415, 422, 500),
                },
            }
        },
        "/v2/repository/models/{name}/load": {
            "post": {
                **_head("loadModel", "Let a version serve, by default the newest", of_model=True),
                "description": (
                    "It is loaded beside the one that serves, verified, replayed and warmed, and then takes its place: "
                    "no request is dropped, and none is answered by two versions. A bundle that is refused changes "
                    "nothing; the detail, the log and the index say why."
                ),
                "requestBody": _optional("LoadRequest", {"version": {"value": {"parameters": {"version": "1"}}}}),
                "responses": {
                    "200": answer("ModelState", "It serves"),
                    **problems(404, 409, 413, 415, 422, 500, 503),
                },
            }
        },
        "/v2/repository/models/{name}/rollback": {
            "post": {
                **_head("rollBackModel", "Load the version that served before", of_model=True),
                "description": "Not part of the protocol. Twice in a row leads back.",
                "responses": {"200": answer("ModelState", "It serves again"), **problems(404, 409, 500, 503)},
            }
        },
        "/v2/repository/models/{name}/unload": {
            "post": {
                **_head("unloadModel", "Serve this surface no longer", of_model=True),
                "description": "Requests for it are answered 503 `model_unavailable` from then on.",
                "requestBody": _optional("UnloadRequest", {"plain": {"value": {}}}),
                "responses": {
                    "200": {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}},
                    **problems(404, 413, 415, 422, 500),
                },
            }
        },
    }


def _head(operation: str, summary: str, *, of_model: bool = False) -> dict[str, Any]:
    parameters = [_NAME, REQUEST_ID] if of_model else [REQUEST_ID]
    return {"operationId": operation, "tags": ["models"], "summary": summary, "parameters": parameters}


def _get(
    operation: str, summary: str, ok: dict[str, Any], others: dict[str, Any] | None = None, *, of_model: bool = False
) -> dict[str, Any]:
    return {**_head(operation, summary, of_model=of_model), "responses": {"200": ok, **(others or {})}}


def _optional(name: str, examples: dict[str, Any]) -> dict[str, Any]:
    return {**body(name, examples), "required": False}
