"""Access: which path needs which scope, and the refusal of who lacks it. It does not know keys' files or routes.

What is not named here needs `admin`: a new path is closed until somebody opens it.
"""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from service import browser, keys, problems
from service.errors import Forbidden, RankonceError
from service.keys import ApiKeys
from service.middleware import send_problem

log = logging.getLogger(__name__)

OPEN = frozenset(
    (
        *("/healthz", "/readyz", "/metrics", "/v2", "/v2/health/live", "/v2/health/ready"),
        *("/docs", "/docs/oauth2-redirect", "/openapi.json", "/dashboard", "/dashboard/data"),
    )
)
"""Of these nobody learns anything of a member or of a model's contents; probes and scrapers need no key."""
OPEN_FOLDERS = ("/docs/assets/", "/dashboard/assets/")
NEEDED: dict[str, keys.Scope] = {"/v1/rank": "rank", "/v1/prefetch": "rank", "/v1/events": "events"}


HARMLESS = ("GET", "HEAD", "OPTIONS")
"""They change nothing, and a page of another site learns nothing from them."""


def needed(path: str) -> keys.Scope | None:
    """The scope that a path needs; None: it is open to all."""
    if path in OPEN or path.startswith(OPEN_FOLDERS):
        return None
    return NEEDED.get(path, "admin")


class Access:
    """Refuses before a body is read. Without keys in the state everything is open, but not to other sites' pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                _check(scope)
            except RankonceError as error:
                log.debug("%s: %s", error.code, error.detail)
                await send_problem(problems.of_error(error, scope["state"]["request_id"]), send)
                return
        await self._app(scope, receive, send)


def _check(scope: Scope) -> None:
    """Raises Unauthorized, Forbidden or RateLimited."""
    if scope["method"] not in HARMLESS and browser.from_elsewhere(scope["headers"]):
        raise Forbidden("a page of another site may not ask for this")
    held: ApiKeys | None = scope["state"].get("keys")
    if held is not None and (wanted := needed(scope["path"])) is not None:
        held.check(_secret(scope), wanted)


def _secret(scope: Scope) -> str | None:
    """The key that the caller sent. Of two nobody can say which was meant, so they are none."""
    found: list[str] = []
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            found.append(value.decode("latin-1").strip())
        elif name == b"authorization":
            scheme, _, secret = value.decode("latin-1").partition(" ")
            found.append(secret.strip() if scheme.lower() == "bearer" else "")
    return found[0] if len(found) == 1 else None
