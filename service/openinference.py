"""The model side of the Open Inference Protocol (v2) over HTTP: health, metadata, and Triton's repository extension.

Paths, bodies and states are the protocol's; errors are problem documents like everywhere in this service. `rollback`
is our own. There is no /infer: a ranking is more than tensors (POST /v1/rank). `admin` holds what changes the service.
It does not know how a model is loaded.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TypeVar, cast, get_args

import msgspec
from fastapi import APIRouter, Request, Response

from model.bundle import Manifest, Surface
from service.assembly import State
from service.bodies import BodyDecoder, check_media_type, read_body
from service.errors import NotFound
from service.schemas import (
    IndexRequest,
    LoadRequest,
    ModelMetadata,
    ModelReady,
    ModelState,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
    UnloadRequest,
)

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 1024
PLATFORM = "pytorch_torchscript"
_encode = msgspec.json.Encoder().encode
_index_decoder = BodyDecoder(IndexRequest)
_load_decoder = BodyDecoder(LoadRequest)
_unload_decoder = BodyDecoder(UnloadRequest)

metadata = APIRouter()
admin = APIRouter()


@metadata.get("/v2")
async def server() -> Response:
    return _json(ServerMetadata("rankonce", version("rankonce"), ["model_repository"]))


@metadata.get("/v2/health/live")
async def live() -> Response:
    return _json(ServerLive(live=True))


@metadata.get("/v2/health/ready")
async def ready(request: Request) -> Response:
    state = _state(request)
    strict = state["settings"].on_history_failure == "unavailable"
    health = await state["readiness"].report(state["models"].serving, state["stores"], strict)
    return _json(ServerReady(ready=health.status == "ok"), 200 if health.status == "ok" else 503)


@metadata.get("/v2/models/{name}")
async def model(request: Request) -> Response:
    state, surface = _state(request), _surface(request)
    serving = state["models"].get(surface)
    return _json(_metadata(serving.manifest, state["models"].known(surface)))


@metadata.get("/v2/models/{name}/ready")
async def model_ready(request: Request) -> Response:
    surface = _surface(request)
    serves = surface in _state(request)["models"].serving
    return _json(ModelReady(surface, serves), 200 if serves else 503)


@admin.post("/v2/repository/index")
async def index(request: Request) -> Response:
    asked = await _body(request, _index_decoder)
    listed = _state(request)["models"].index()
    return _json([entry for entry in listed if entry.state == "READY" or not asked.ready])


@admin.post("/v2/repository/models/{name}/load")
async def load(request: Request) -> Response:
    surface = _surface(request)
    asked = await _body(request, _load_decoder)
    loaded = await _state(request)["models"].load(surface, asked.parameters.version)
    return _json(ModelState(surface, loaded.manifest.version, "READY", ""))


@admin.post("/v2/repository/models/{name}/rollback")
async def rollback(request: Request) -> Response:
    surface = _surface(request)
    loaded = await _state(request)["models"].rollback(surface)
    return _json(ModelState(surface, loaded.manifest.version, "READY", ""))


@admin.post("/v2/repository/models/{name}/unload")
async def unload(request: Request) -> Response:
    surface = _surface(request)
    await _body(request, _unload_decoder)
    await _state(request)["models"].unload(surface)
    return _json({})


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])


def _surface(request: Request) -> Surface:
    """A model's name is the surface that it serves."""
    name = request.path_params["name"]
    if name not in get_args(Surface):
        raise NotFound(f"there is no such model; there are {' and '.join(get_args(Surface))}")
    return cast(Surface, name)


async def _body(request: Request, decoder: BodyDecoder[T]) -> T:
    """The protocol lets a body be left out."""
    with _state(request)["body_budget"].receiving() as take:
        body = await read_body(request.headers, request.stream(), MAX_BODY_BYTES, take)
    if not body:
        return decoder.decode(b"{}")
    check_media_type(request.headers)
    return decoder.decode(body)


def _json(value: object, status: int = 200) -> Response:
    return Response(_encode(value), status, media_type="application/json")


def _metadata(manifest: Manifest, versions: list[str]) -> ModelMetadata:
    """The tensors of the artifact's forward, as model/bundle describes them; B, T and C vary."""
    width, tasks = manifest.embedding_dim, len(manifest.tasks)
    return ModelMetadata(
        name=manifest.name,
        versions=versions,
        platform=PLATFORM,
        inputs=[
            TensorMetadata("embeddings", "FP32", [-1, -1, width]),
            TensorMetadata("actions", "INT64", [-1, -1]),
            TensorMetadata("timestamps", "INT64", [-1, -1]),
            TensorMetadata("mask", "BOOL", [-1, -1]),
            TensorMetadata("candidates", "FP32", [-1, -1, width]),
            TensorMetadata("features", "FP32", [-1, -1, len(manifest.features)]),
            TensorMetadata("context", "FP32", [-1, len(manifest.context)]),
            TensorMetadata("meta", "FP32", [-1, manifest.meta_dim]),
            TensorMetadata("request_time", "INT64", [-1]),
        ],
        outputs=[TensorMetadata("logits", "FP32", [-1, -1, tasks])],
        parameters={
            "serving": manifest.version,
            "surface": manifest.surface,
            "encoder": manifest.encoder,
            "precision": manifest.precision,
            "embedding_version": manifest.embedding_version,
            "max_history": manifest.max_history,
            "max_candidates": manifest.max_candidates,
            "tasks": ",".join(task.name for task in manifest.tasks),
        },
    )
