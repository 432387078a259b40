"""The floor beside a subject: its model, on its cores, behind FastAPI with raw tensors in and logits out.

What a row misses by is the service's own only as far as this server does not miss it too (`peers/floor.py`). It does
not know what is measured.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from loadtests.bench_server import Client, module
from loadtests.bench_shapes import ReferenceShape
from loadtests.bench_subject import Subject
from loadtests.peers.tensors import Inputs
from model.bundle import RANKER_FILE

_WARM_UP = 50  # requests; TorchScript specialises in the first few of every thread


class Floor(NamedTuple):
    """body: of a request of the subject's shape · all times are seconds."""

    url: str
    client: Client
    body: bytes

    def times(self, count: int) -> list[float]:
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            reply = self.client.post(self.body)
            seconds.append(time.perf_counter() - start)
            if reply.status != 200:
                raise RuntimeError(f"the floor answered {reply.status}: {reply.body[:200]!r}")
        return seconds


@contextlib.contextmanager
def floor(there: Subject) -> Iterator[Floor]:
    """Started beside the subject; whichever of the two is not asked costs the other nothing."""
    file = there.bundle.repository / "feed" / "1" / RANKER_FILE
    cores = there.cores.server
    serving = module("loadtests.peers.floor", str(file), "--threads", str(len(cores)), cores=cores)
    with serving as server, Client(server.url) as client:
        made = Floor(server.url, client, _inputs(there.shape).pack())
        made.times(_WARM_UP)
        yield made


def _inputs(shape: ReferenceShape) -> Inputs:
    config, rng = shape.config, np.random.default_rng(0)

    def normal(*size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.standard_normal(size, np.float32)

    return Inputs(
        actions=rng.integers(config.actions, size=shape.history),
        timestamps=np.arange(shape.history) * 60_000,
        request_time=np.array([shape.history * 60_000]),
        history=normal(shape.history, config.embedding_dim),
        candidates=normal(shape.candidates, config.embedding_dim),
        features=normal(shape.candidates, config.features),
        context=normal(config.context),
        meta=normal(config.meta_dim),
    )
