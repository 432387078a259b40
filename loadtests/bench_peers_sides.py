"""The sides of the comparison, started: each a server on the same cores, what it is asked, how its answers are judged.

It does not know for how long anything is asked, or what is made of it.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.bench_bundles import Bundle
from loadtests.bench_peers_ours import Questions
from loadtests.bench_server import Serving, module, serving, started
from loadtests.peers import floor, triton, typical
from loadtests.peers.closed_loop import Ask, Reply, request
from loadtests.peers.tensors import Inputs
from model.bundle import RANKER_FILE
from model.precision import TOLERANCE

FLOOR, TYPICAL, TRITON = "floor", "typical FastAPI", "Triton"
COLD, ZIPF, REDUCED = "ours, cold", "ours, Zipf", "ours, Zipf, bf16"
TENSOR_REQUESTS = 16
"""A peer is asked these by turns: what they cost does not depend on whose they are."""

_CACHE_EVENTS = re.compile(r'^ranker_encoded_history_cache_events_total\{.*event="(\w+)".*\} ([\d.e+]+)$', re.MULTILINE)
_Judge = Callable[[Reply], None]


@dataclass(frozen=True)
class Side:
    """One line of the table. `judge` raises WrongAnswer."""

    name: str
    serving: Serving
    asks: Iterator[Ask]
    judge: _Judge

    def memory_mb(self) -> float:
        """What the server and its children hold now; memory that they share is counted once."""
        processes = [self.serving.process, *self.serving.process.children(recursive=True)]
        return float(sum(process.memory_full_info().pss for process in processes)) / 2**20

    def cache_events(self) -> dict[str, float]:
        """How often our cache of encoded histories was hit or missed; empty for a peer."""
        if not self.name.startswith("ours"):
            return {}
        with urllib.request.urlopen(f"{self.serving.url}/metrics", timeout=10.0) as answer:
            return {event: float(count) for event, count in _CACHE_EVENTS.findall(answer.read().decode())}


class Sides:
    """Starts them for one shape; they end with the stack. cores: of every server alike."""

    def __init__(self, questions: Questions, cores: frozenset[int], stack: contextlib.ExitStack) -> None:
        self._questions, self._cores, self._stack = questions, cores, stack
        self._artifact = questions.bundle.repository / "feed" / "1" / RANKER_FILE

    def floor(self) -> Side:
        server = self._python("loadtests.peers.floor", "--threads", str(len(self._cores)))

        def asked(inputs: Inputs) -> bytes:
            return request(floor.PATH, "application/octet-stream", inputs.pack())

        return self._peer(FLOOR, server, asked, lambda reply: np.frombuffer(reply.body, np.float32))

    def typical(self) -> Side:
        def asked(inputs: Inputs) -> bytes:
            return request(typical.PATH, "application/json", typical.body(inputs))

        return self._peer(TYPICAL, self._python("loadtests.peers.typical"), asked, lambda r: typical.logits(r.body))

    def triton(self, environment: Path, folder: Path) -> Side:
        """Raises TritonMissing, or RuntimeError with the server's last words."""
        launch = triton.prepare(environment, folder, self._artifact, len(self._cores))
        server = self._stack.enter_context(started(launch.command, launch.environment, self._cores, triton.ready))

        def asked(inputs: Inputs) -> bytes:
            body, headers = triton.body(inputs)
            return request(triton.PATH, "application/octet-stream", body, headers)

        return self._peer(TRITON, server, asked, lambda reply: triton.logits(reply.headers, reply.body))

    def ours(self, redis: str, bundle: Bundle, cache_mb: int) -> Serving:
        """Our service with its defaults but for the cache's bound (and a mode that is not used here, to start soon)."""
        settings = {"encoded_cache_bytes": cache_mb * 2**20, "non_amortized_chunk": 8}
        return self._stack.enter_context(serving(bundle.repository, redis, self._cores, settings))

    def of_ours(self, name: str, server: Serving, bundle: Bundle) -> Side:
        """name: COLD encodes every history anew, the others as members ask."""
        tolerance = TOLERANCE[bundle.manifest.precision]
        asks = self._questions.cold() if name == COLD else self._questions.zipf()
        return Side(name, server, asks, lambda reply: self._questions.judge_ours(reply, tolerance))

    def _python(self, name: str, *options: str) -> Serving:
        return self._stack.enter_context(module(name, str(self._artifact), *options, cores=self._cores))

    def _peer(
        self, name: str, server: Serving, asked: Callable[[Inputs], bytes], logits: Callable[[Reply], Any]
    ) -> Side:
        asks = [Ask(index, asked(self._questions.inputs(index))) for index in range(TENSOR_REQUESTS)]

        def judge(reply: Reply) -> None:
            self._questions.judge_logits(name, reply.index, logits(reply), TOLERANCE["fp32"])

        return Side(name, server, itertools.cycle(asks), judge)
