"""Pages: the live page, its files and its data over HTTP. It does not know what the numbers mean.

The page comes from here alone: no outside host, no inline script or style (browser.py sees to it).
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any, NamedTuple, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service import playground
from service.assembly import State
from service.counted_route import CountedRoute
from service.dashboard import KEPT_SECONDS, Snapshot
from service.errors import InvalidRequest, NotFound

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGE = "index.html"
_encode = msgspec.json.Encoder().encode


class _File(NamedTuple):
    content: bytes
    headers: dict[str, str]


class LiveData(Snapshot):
    """The snapshot, whether requests should be sent here, and whether the page may offer its playground."""

    ready: bool
    playground: bool


def _read_files() -> dict[str, _File]:
    found: dict[str, _File] = {}
    for file in files("service").joinpath("static").iterdir():
        content = file.read_bytes()
        headers = {
            "content-type": MEDIA_TYPES[file.name.rpartition(".")[2]],
            "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            "cache-control": "no-cache",  # asks each time, and is told 304: a new release shows at once
        }
        found[file.name] = _File(content, headers)
    return found


_FILES = _read_files()


async def page(request: Request) -> Response:
    return _file(request, PAGE)


async def asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        raise NotFound("there is no such file")
    return _file(request, name)


async def data(request: Request) -> Response:
    state = _state(request)
    window = float(_number(request, "window", 60, most=int(KEPT_SECONDS)))
    snapshot = await state["recorder"].snapshot(_number(request, "after", 0, most=2**53), window)
    offered = playground.enabled(state["settings"])
    told = msgspec.structs.asdict(snapshot)
    return _json(LiveData(**told, ready=state["readiness"].serving, playground=offered))


async def offer(request: Request) -> Response:
    state = _state(request)
    if not playground.enabled(state["settings"]):
        raise NotFound("the playground is off; RANKER_PLAYGROUND=true turns it on")
    return _json(await playground.offer(state["settings"], state["models"].serving, state["stores"]))


routes = [
    CountedRoute("/dashboard", page),
    CountedRoute("/dashboard/data", data),
    CountedRoute("/dashboard/playground", offer),
    CountedRoute("/dashboard/assets/{name}", asset),
]


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])


def _file(request: Request, name: str) -> Response:
    content, headers = _FILES[name]
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)


def _json(value: Any) -> Response:
    return Response(_encode(value), headers={"cache-control": "no-store"}, media_type="application/json")


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= most):
        raise InvalidRequest(name, f"must be a whole number from 0 to {most}")
    return int(text)
