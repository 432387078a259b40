"""Golden cases: requests and the logits they must give, replayed by whoever loads the ranker. Knows no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.bundle.files import GOLDEN_FILE, RANKER_FILE, BundleError


class GoldenCase(NamedTuple):
    """One request's arrays and the logits they must give. No batch axis.

    embeddings [T, D] f32 · actions [T] i64 · timestamps [T] i64 ms · candidates [C, D] f32 · features [C, F] f32 ·
    context [G] f32 · meta [M] f32 · request_time i64 ms · logits [C, K] f32
    """

    embeddings: NDArray[np.float32]
    actions: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    candidates: NDArray[np.float32]
    features: NDArray[np.float32]
    context: NDArray[np.float32]
    meta: NDArray[np.float32]
    request_time: int
    logits: NDArray[np.float32]


def read_golden(directory: Path) -> list[GoldenCase]:
    """Read a bundle's `golden.json`. Raises BundleError."""
    return load_golden(directory / GOLDEN_FILE)


def load_golden(path: Path) -> list[GoldenCase]:
    """Read cases that `save_golden` wrote. Raises BundleError."""
    try:
        return [_case_from_json(case) for case in json.loads(path.read_bytes())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(path.name, f"cannot be read: {error}") from error


def save_golden(path: Path, cases: Sequence[GoldenCase]) -> None:
    path.write_text(json.dumps([_case_to_json(case) for case in cases]))


def check_golden(case: GoldenCase, logits: NDArray[np.float32], tolerance: float) -> None:
    """Raise BundleError unless |logits − golden| ≤ tolerance · max(1, |golden|) everywhere."""
    difference = np.abs(logits - case.logits) / np.maximum(1.0, np.abs(case.logits))
    if logits.shape != case.logits.shape or not np.all(difference <= tolerance):  # NaN compares false
        worst = float(np.max(difference)) if difference.size else 0.0
        raise BundleError(RANKER_FILE, f"golden logits differ by {worst:.2e}, allowed {tolerance:.0e}")


_CASE_DTYPES: dict[str, type] = {
    "embeddings": np.float32,
    "actions": np.int64,
    "timestamps": np.int64,
    "candidates": np.float32,
    "features": np.float32,
    "context": np.float32,
    "meta": np.float32,
    "logits": np.float32,
}


def _case_to_json(case: GoldenCase) -> dict[str, Any]:
    # The shape travels beside the values: an empty axis (T = 0, no features) has no trace in a nested list.
    arrays = {
        name: {"shape": list(getattr(case, name).shape), "values": getattr(case, name).ravel().tolist()}
        for name in _CASE_DTYPES
    }
    return {**arrays, "request_time": case.request_time}


def _case_from_json(case: dict[str, Any]) -> GoldenCase:
    def array(name: str) -> NDArray[Any]:
        return np.array(case[name]["values"], dtype=_CASE_DTYPES[name]).reshape(case[name]["shape"])

    arrays = {name: array(name) for name in _CASE_DTYPES}
    return GoldenCase(**arrays, request_time=int(case["request_time"]))
