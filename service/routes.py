"""Routes: HTTP in, HTTP out. Bodies become wire types, answers become bytes; nothing is decided here.

It does not know how a ranking comes about, or how an error is worded (problems.py).
"""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar, cast
from urllib.parse import unquote_to_bytes

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.background import BackgroundTask
from starlette.convertors import Convertor, register_url_convertor

from service.assembly import State
from service.bodies import BodyDecoder, check_media_type, read_body
from service.caller import DEADLINE_HEADER, give_up_at, while_connected
from service.counted_route import CountedRoute
from service.errors import InvalidRequest
from service.schemas import EventsRequest, Health, PrefetchRequest, RankRequest
from service.shadow import HEADER as SHADOW_HEADER

T = TypeVar("T")

JSON = "application/json"
MEMBER_ID_LENGTH = 256
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")

_encode = msgspec.json.Encoder().encode
_rank_decoder = BodyDecoder(RankRequest)
_prefetch_decoder = BodyDecoder(PrefetchRequest)
_events_decoder = BodyDecoder(EventsRequest)


class _Anything(Convertor[str]):
    """A path parameter of any characters: Starlette's own `path` stops at a line break."""

    regex = r"(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())
router = APIRouter()


async def rank(request: Request) -> Response:
    state = _state(request)
    give_up = give_up_at(request.headers.get(DEADLINE_HEADER), asyncio.get_running_loop().time())
    compared = state["shadow"].chosen(request.headers.get(SHADOW_HEADER))
    body = await _body(request, state, _rank_decoder)
    ranking = await while_connected(request.receive, state["ranking"].rank(body, request.state.request_id, give_up))
    return Response(
        _encode(ranking.response),
        headers={"server-timing": ranking.clock.server_timing()},
        media_type=JSON,
        background=BackgroundTask(state["shadow"].offer, ranking.served) if compared else None,  # once it is sent
    )


async def prefetch(request: Request) -> Response:
    state = _state(request)
    state["prefetching"].begin(await _body(request, state, _prefetch_decoder))
    return Response(status_code=202)


async def append_events(request: Request) -> Response:
    state = _state(request)
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    body = await _body(request, state, _events_decoder)
    appended = await state["events"].append(body, key)
    if not appended.replayed:
        state["metrics"].events_appended(appended.appended)
    return Response(_encode(appended), media_type=JSON)


often = [  # before all others
    CountedRoute("/v1/rank", rank, methods=["POST"]),
    CountedRoute("/v1/prefetch", prefetch, methods=["POST"]),
    CountedRoute("/v1/events", append_events, methods=["POST"]),
]


@router.get("/v1/members/{member_id:anything}/history")
async def history(request: Request) -> Response:
    return Response(_encode(await _state(request)["events"].history(_member_id(request))), media_type=JSON)


@router.delete("/v1/members/{member_id:anything}/history")
async def erase_history(request: Request) -> Response:
    """Also forgets what was encoded of it: an erased member leaves nothing behind."""
    state, member_id = _state(request), _member_id(request)
    await state["events"].erase(member_id)
    for model in state["models"].serving.values():
        state["encoded"].forget(model.identity, member_id)
    return Response(status_code=204)


@router.get("/healthz")
async def alive() -> Response:
    return Response(_encode(Health("ok")), media_type=JSON)


@router.get("/readyz")
async def ready(request: Request) -> Response:
    state = _state(request)
    strict = state["settings"].on_history_failure == "unavailable"
    health = await state["readiness"].report(state["models"].serving, state["stores"], strict)
    return Response(_encode(health), 200 if health.status == "ok" else 503, media_type=JSON)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    accept = request.headers.get("accept", "")
    text, content_type = await asyncio.to_thread(_state(request)["metrics"].exposition, accept)
    return Response(text, headers={"content-type": content_type})


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])


async def _body(request: Request, state: State, decoder: BodyDecoder[T]) -> T:
    check_media_type(request.headers)
    with state["body_budget"].receiving() as take:
        return decoder.decode(
            await read_body(request.headers, request.stream(), state["settings"].max_body_bytes, take)
        )


def _member_id(request: Request) -> str:
    """From the path, where percent-encoded bytes that are no UTF-8 would silently become another member's id."""
    member_id: str = request.path_params["member_id"]
    try:
        unquote_to_bytes(request.scope["raw_path"]).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("member_id", "is not percent-encoded UTF-8") from None
    if len(member_id) > MEMBER_ID_LENGTH:
        raise InvalidRequest("member_id", f"is longer than {MEMBER_ID_LENGTH} characters")
    return member_id
