"""The ASGI application: routes, errors and documentation around the assembled service.

It does not know what a ranking is; what is built, and in which order, is assembly.py's.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service import openapi, pages, problems
from service.access import Access
from service.assembly import State, open_service
from service.errors import RankonceError
from service.health import Readiness
from service.middleware import RequestContext, route_of
from service.offline import StartFailed
from service.openinference import admin, metadata
from service.repository import ModelRepository
from service.routes import often, router
from service.settings import Settings

log = logging.getLogger(__name__)

EXAMPLE_ITEMS = 3


def create_app(settings: Settings, histories: Path | None = None, readiness: Readiness | None = None) -> FastAPI:
    """The application of these settings. `histories`: a file loaded at the start, before it is ready."""
    phase = readiness or Readiness()
    failure = ""
    models: ModelRepository | None = None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        nonlocal failure, models
        try:
            async with open_service(settings, phase, histories) as state:
                models = state["models"]
                yield state
        except StartFailed as error:
            failure = str(error)
            raise

    app = FastAPIOffline(  # as FastAPI, with swagger-ui's files served from here
        title="rankonce",
        version=version("rankonce"),
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # a path that is nearly one of ours is none; nothing points where a Host header says
        static_url="/docs/assets",
        swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True},
    )
    app.openapi = lambda: openapi.document(version("rankonce"), _vocabulary(models))  # type: ignore[method-assign]
    app.router.routes[:0] = often
    for part in (router, metadata, admin):
        app.include_router(part)
    app.router.routes.extend(pages.routes)
    app.add_exception_handler(RankonceError, _on_error)
    app.add_exception_handler(HTTPException, _on_refusal)
    app.add_middleware(Access)
    app.add_middleware(RequestContext, count=_count, start_failure=lambda: failure)
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RankonceError)
    problem = problems.of_error(error, request.state.request_id)
    # What is unavailable is told by whoever found it, once; here it would flood the log while an outage lasts.
    level = logging.WARNING if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR else logging.DEBUG
    log.log(level, "%s: %s", error.code, error.detail)
    return Response(problem.body, problem.status, problem.headers)


async def _on_refusal(request: Request, error: Exception) -> Response:
    """What Starlette's router says no to."""
    assert isinstance(error, HTTPException)
    allow = (error.headers or {}).get("Allow")
    problem = problems.of_status(error.status_code, request.state.request_id, allow)
    return Response(problem.body, problem.status, problem.headers)


def _count(scope: Scope, status: int) -> None:
    state = scope["state"]
    if "metrics" in state:
        state["metrics"].answered(route_of(scope), status)


def _vocabulary(models: ModelRepository | None) -> openapi.Vocabulary | None:
    """Actions and items for the documentation's examples, from a bundle that serves now."""
    model = next(iter(models.serving.values()), None) if models else None
    if model is None:
        return None
    return openapi.Vocabulary(model.manifest.actions, model.items.ids[1 : EXAMPLE_ITEMS + 1])
