"""The floor: FastAPI, raw binary bodies, the model on a pool of threads, and nothing else.

What HTTP and this model cost at least in one Python process: no JSON, no ids, no member, no history to fetch, no
checks, no order, no metrics. As many threads as our own service has, each with torch's own parallelism off.
`python -m loadtests.peers.floor FILE --threads N`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from fastapi import FastAPI, Request, Response

from loadtests.peers.artifact import Artifact
from loadtests.peers.hosting import artifact_and_threads, host
from loadtests.peers.tensors import Inputs

PATH = "/v1/rank"  # as ours, so that one generator can ask both


def create_app(file: Path, threads: int) -> FastAPI:
    """`POST /rank`: packed tensors in, logits [C, K] f32 out."""
    artifact = Artifact(file)
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    app = FastAPI()

    def score(body: bytearray) -> bytes:
        return artifact.logits(Inputs.unpack(body)).tobytes()

    @app.post(PATH)
    async def rank(request: Request) -> Response:
        body = bytearray()  # the one copy that joins what arrives; torch reads it where it lies
        async for part in request.stream():
            body += part
        logits = await asyncio.get_running_loop().run_in_executor(pool, score, body)
        return Response(logits, media_type="application/octet-stream")

    return app


if __name__ == "__main__":
    host(create_app(*artifact_and_threads()))
