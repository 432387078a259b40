"""How long histories are and how many candidates requests carry: replayed from MIND, or drawn from a fit to it.

It knows counts only: neither who a member is nor what a request looks like.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

BEHAVIORS = Path("mind_sample") / "behaviors.tsv"

# Fitted by maximum likelihood (scipy's `fit`, location fixed, x − lowest + ½) to the 5,000 impressions of the sample:
# of gamma, Weibull, log-normal and Burr XII the two with the smallest Kolmogorov-Smirnov distance were kept. The two
# counts are drawn independently: Spearman's correlation in the sample is 0.10.
NO_HISTORY = 0.0214  # share of impressions of members without any action
HISTORY_LOG_MEAN, HISTORY_LOG_SIGMA = 2.8425, 1.195  # log-normal, distance 0.027
HISTORY_LONGEST = 425
CANDIDATES_SHAPE, CANDIDATES_SCALE = 0.8157, 44.59  # gamma, distance 0.020
CANDIDATES_FEWEST, CANDIDATES_MOST = 2, 283


@dataclass(frozen=True, eq=False)
class Shapes:
    """history: [members] int64, actions a member has · candidates: [requests] int64, at least 1 each."""

    history: I64
    candidates: I64
    source: Literal["replayed", "fitted"]


def draw_shapes(members: int, requests: int, rng: np.random.Generator, data: Path | None) -> Shapes:
    """Replay the impressions under `data` in a random order, again and again as needed; without it, draw from the fit.

    data: the folder that holds `mind_sample/`, or None.
    """
    if data is None:
        return Shapes(_fitted_histories(members, rng), _fitted_candidates(requests, rng), "fitted")
    history, candidates = read_impressions(data / BEHAVIORS)
    return Shapes(_replayed(history, members, rng), _replayed(candidates, requests, rng), "replayed")


def find_data(given: Path | None) -> Path | None:
    """The folder to replay from: the one given, or RANKONCE_DATA, if it has the sample. Raises FileNotFoundError."""
    if given is not None:
        if not (given / BEHAVIORS).is_file():
            raise FileNotFoundError(f"{given} has no {BEHAVIORS}")
        return given
    named = os.environ.get("RANKONCE_DATA")
    return Path(named) if named and (Path(named) / BEHAVIORS).is_file() else None


def read_impressions(path: Path) -> tuple[I64, I64]:
    """(history length, candidate count) of each impression: [N] int64 each. Nothing else of a row is kept.

    A row: impression, member, time, history, candidates, separated by tabs; the last two are ids between spaces.
    """
    with path.open(encoding="utf-8") as file:
        counts = [tuple(len(column.split()) for column in line.rstrip("\n").split("\t")[3:5]) for line in file]
    history, candidates = np.array(counts, dtype=np.int64).T
    return history, candidates


def _fitted_histories(count: int, rng: np.random.Generator) -> I64:
    lengths = np.floor(rng.lognormal(HISTORY_LOG_MEAN, HISTORY_LOG_SIGMA, count)).astype(np.int64) + 1
    return np.where(rng.random(count) < NO_HISTORY, 0, np.minimum(lengths, HISTORY_LONGEST))


def _fitted_candidates(count: int, rng: np.random.Generator) -> I64:
    drawn = np.floor(rng.gamma(CANDIDATES_SHAPE, CANDIDATES_SCALE, count)).astype(np.int64) + CANDIDATES_FEWEST
    return np.minimum(drawn, CANDIDATES_MOST)


def _replayed(values: I64, count: int, rng: np.random.Generator) -> I64:
    """Every value once before any comes twice."""
    rounds = -(-count // len(values))
    return np.concatenate([rng.permutation(values) for _ in range(rounds)])[:count]
