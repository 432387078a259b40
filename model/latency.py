"""How long rankers take for one request, by turns in one process: so ratios hold on a machine that others use too.

Each is scripted and frozen as the service runs it, with random weights, in inference mode, on torch's threads as they
are. It does not know training, the service, or why rankers are compared.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from model.config import RankerConfig
from model.ranker import Ranker, build_ranker

WARM_UP = 3  # TorchScript profiles the first call and specialises in the second
ROUNDS, REPEATS = 40, 4


class Latency(NamedTuple):
    """seconds: of one request, encoding and scoring, median over the rounds · ratio: to the first ranker's, likewise"""

    seconds: float
    ratio: float


def request_latencies(
    configs: Mapping[str, RankerConfig], history: int, candidates: int, rounds: int = ROUNDS
) -> dict[str, Latency]:
    """Each config's time for `history` actions and `candidates` in one pass, by name.

    Every second round goes through them backwards. The first call of a turn is not counted: it finds the caches full
    of another's data. A turn counts as its fastest call, since a neighbour on the same core only adds, and adds more to
    who takes longer; a ratio is of two turns of the same round, which lie milliseconds apart.
    """
    requests = {name: _request(config, history, candidates) for name, config in configs.items()}
    seconds: dict[str, list[list[float]]] = {name: [] for name in requests}
    with torch.inference_mode():
        for request in requests.values():
            for _ in range(WARM_UP):
                request()
        for number in range(rounds):
            for name in list(requests)[:: 1 if number % 2 == 0 else -1]:
                requests[name]()
                seconds[name].append([_timed(requests[name]) for _ in range(REPEATS)])
    fastest = {name: np.min(values, axis=1) for name, values in seconds.items()}  # [rounds]
    first = next(iter(fastest.values()))
    return {
        name: Latency(float(np.median(values)), float(np.median(values / first))) for name, values in fastest.items()
    }


def _request(config: RankerConfig, history: int, candidates: int) -> Callable[[], object]:
    """One call: a random history encoded, and all candidates scored."""
    torch.manual_seed(0)
    ranker = _frozen(build_ranker(config).eval())
    actions = (
        torch.randn(1, history, config.embedding_dim),
        torch.randint(config.actions, (1, history)),
        torch.arange(history)[None] * 60_000,
        torch.ones(1, history, dtype=torch.bool),
    )
    request = (
        torch.randn(1, candidates, config.embedding_dim),
        torch.randn(1, candidates, config.features),
        torch.randn(1, config.context),
        torch.randn(1, config.meta_dim),
        torch.tensor([history * 60_000]),
    )
    return lambda: ranker.score_candidates(ranker.encode_history(*actions), *request)


def _frozen(ranker: Ranker) -> Any:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        torch.jit.save(torch.jit.script(ranker), file)
        file.seek(0)
        loaded = torch.jit.load(file).eval()  # type: ignore[no-untyped-call]
        return torch.jit.freeze(loaded, preserved_attrs=["encode_history", "score_candidates"])


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
