"""The subject of a benchmark over HTTP: a service with one bundle, on its cores, and members whose histories are cold.

More members take turns than encodings are kept, so a member's encoding is gone when its turn comes again: cold requests
take the very path that production's do. It does not know what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from loadtests.bench_bare import BareModel
from loadtests.bench_bundles import Bundle
from loadtests.bench_server import Client, Cores, Reply, Serving, on, serving
from loadtests.bench_shapes import ReferenceShape
from service.settings import Settings

MEMBERS = 64
KEPT = 8  # encodings, of MEMBERS
MICROBATCH = Settings(model_repository=Path()).microbatch_size


class Place(NamedTuple):
    """Where subjects live: a folder for bundles, a Redis, and the cores of either side."""

    root: Path
    redis_url: str
    cores: Cores


@dataclass
class Subject:
    """bodies: one for each member, by ids alone. All times are seconds."""

    shape: ReferenceShape
    bundle: Bundle
    server: Serving
    client: Client
    cores: Cores
    members: list[str]
    bodies: list[bytes]
    _turn: int = 0

    def next(self) -> tuple[str, bytes]:
        """The member whose turn it is, cold, and its request."""
        index = self._turn % MEMBERS
        self._turn += 1
        return self.members[index], self.bodies[index]

    def chill(self) -> None:
        """After load of any order: keep encodings of those whose turn is farthest off, so that the next are cold."""
        for index in range(self._turn - 2 * KEPT, self._turn):
            self.client.post(self.bodies[index % MEMBERS])

    def ask(self, body: bytes, *sources: str) -> float:
        """Seconds of one request over HTTP. Raises unless the history came from one of `sources`."""
        start = time.perf_counter()
        reply = self.client.post(body)
        seconds = time.perf_counter() - start
        expect(reply, *sources)
        return seconds

    def cold(self, count: int) -> list[float]:
        return [self.ask(self.next()[1], "store") for _ in range(count)]


def expect(reply: Reply, *sources: str) -> None:
    if reply.status != 200 or not any(f'"source":"{source}"'.encode() in reply.body[:500] for source in sources):
        raise RuntimeError(f"expected a history from {' or '.join(sources)}, got {reply.status}: {reply.body[:300]!r}")


@contextlib.contextmanager
def subject(
    shape: ReferenceShape, place: Place, candidates: int | None = None, **settings: object
) -> Iterator[Subject]:
    """A service for this shape. Unless told otherwise, one thread works on each request, as the bare model has one."""
    bundle = _bundle(shape, place.root)
    members = asyncio.run(bundle.store_members(place.redis_url, MEMBERS))
    given = {
        "inference_threads": len(place.cores.server),
        "intra_op_threads": 1,
        "non_amortized_chunk": 8,  # not used here, and measuring it at load takes long
        "amortized_permits": 1024,  # a tail is to be seen, not shed
        "amortized_deadline_ms": 30_000,
        "store_timeout_ms": 10_000,  # admission lets in what the event loop works off within it
        "encoded_cache_bytes": KEPT * _encoded_bytes(shape),
        **settings,
    }
    with serving(bundle.repository, place.redis_url, place.cores.server, given) as server, Client(server.url) as client:
        bodies = [bundle.body(member, candidates) for member in members]
        made = Subject(shape, bundle, server, client, place.cores, members, bodies)
        made.cold(MEMBERS)
        yield made


class Bare:
    """The same model without a service, on the service's cores, in turns with it."""

    def __init__(self, shape: ReferenceShape, cores: Cores) -> None:
        self._model, self._cores = BareModel(shape), cores
        self.times(10)

    def times(self, count: int) -> list[float]:
        seconds = []
        with on(self._cores.server), torch.inference_mode():
            self._model.amortized(MICROBATCH)
            for _ in range(count):
                start = time.perf_counter()
                self._model.amortized(MICROBATCH)
                seconds.append(time.perf_counter() - start)
        return seconds


_bundles: dict[tuple[Path, str], Bundle] = {}


def _bundle(shape: ReferenceShape, root: Path) -> Bundle:
    """Exporting one takes seconds, so several rows share it."""
    if (root, shape.name) not in _bundles:
        _bundles[root, shape.name] = Bundle(shape, root)
    return _bundles[root, shape.name]


def _encoded_bytes(shape: ReferenceShape) -> int:
    """Keys and values of every layer in float32, and some more."""
    return int(1.1 * 2 * shape.config.layers * (shape.history + 1) * shape.embedding_dim * 4) + 2048
