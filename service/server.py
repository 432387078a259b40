"""Server: uvicorn with this service's manners at the start and at the end. It does not know what it serves.

Start: one line with the real URL once requests are answered. End: the first SIGTERM or SIGINT drains (not ready, then
no new connections, then the requests in flight end) and exits with 0; the second exits at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from service.connection import Bounds, Connection
from service.memory import give_back
from service.settings import Settings
from service.turnstile import Turnstile

log = logging.getLogger(__name__)

START_FAILED = STARTUP_FAILURE
"""The code of the SystemExit by which a start ends that did not come about."""
_GC_THRESHOLDS = (50_000, 20, 20)
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048
_OWN_FILES = 256
"""Descriptors that are kept from clients: Redis, bundles, logs, the exporter."""
_TICKS_BETWEEN_CHECKS = 10  # of a tenth of a second each


class TlsFilesError(Exception):
    """The certificate or its key cannot be used; the message names the files."""


class Server(uvicorn.Server):
    """`begin_drain` is called once, from a signal handler, when the first signal comes."""

    def __init__(self, app: ASGIApp, settings: Settings, begin_drain: Callable[[], None]) -> None:
        """Raises TlsFilesError."""
        _check_tls(settings)
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http=cast(type[Connection], partial(Turnstile, _bounds(settings))),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=settings.shutdown_seconds,
            )
        )
        self._begin_drain = begin_drain
        self._drain_seconds = settings.drain_seconds
        self._stop_at: float | None = None

    @property
    def url(self) -> str:
        """Where it listens, with the port that was picked for port 0."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        scheme = "https" if self.config.is_ssl else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was built until here lives as long as the process: collecting it over and over is what p99 would feel.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        give_back()
        url = self.url
        log.info("ready at %s (live page %s/dashboard, docs %s/docs, pid %d)", url, url, url, os.getpid())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """uvicorn would die of the signal again after a clean end; an orchestrator wants to see 0."""
        if self._stop_at is not None:
            os._exit(128 + sig)  # asked twice: nothing is waited for
        self._stop_at = time.monotonic() + self._drain_seconds
        self._begin_drain()

    async def on_tick(self, counter: int) -> bool:
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        if counter % _TICKS_BETWEEN_CHECKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast(Connection, connection).check(now)
        return await super().on_tick(counter)


def _check_tls(settings: Settings) -> None:
    if settings.tls_certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.tls_certificate,
            settings.tls_key,
            password="",  # an encrypted key is refused, not asked about
        )
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "cannot be used"
        raise TlsFilesError(f"{settings.tls_certificate} with {settings.tls_key}: {reason}") from None


def _bounds(settings: Settings) -> Bounds:
    """As set, and no more connections than the process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            log.warning("only %d files may be open: fewer connections are accepted than is set", soft)
            return Bounds(max(1, soft - _OWN_FILES), settings.transfer_seconds)
    return Bounds(settings.max_connections, settings.transfer_seconds)
