"""Serve an app with plain uvicorn on a free port of this machine, and say where. It does not know the app."""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

BACKLOG = 128
KEEP_ALIVE_SECONDS = 600  # a generator's connection may rest while the other servers are asked


def host(app: FastAPI) -> None:
    """Until a signal ends it. uvicorn's own choice of event loop and parser (uvloop, httptools), one process, no
    access log: whoever connects before it has started waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening:
        print(f"ready at http://127.0.0.1:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE_SECONDS)
        uvicorn.Server(config).run([listening])


def artifact_and_threads() -> tuple[Path, int]:
    """What a peer's command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact", type=Path, help="a bundle's TorchScript file")
    parser.add_argument("--threads", type=int, required=True, help="that run the model")
    options = parser.parse_args()
    return options.artifact, options.threads
