"""The export's proof, run as `python -m model.check BUNDLE PROBES` in a process that cannot import the ranker's code.

What loads here loads anywhere: the TorchScript file stands alone. It must give the trained ranker's logits for the
golden cases and for probes at other shapes, and the same logits with the history encoded once and encoded again for
every candidate, which is then alone: parity and candidate isolation in one. If it can extend a history, so must one
that was extended. It does not know how a ranker is built.
"""

from __future__ import annotations

import sys
import warnings
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bundle import (
    RANKER_FILE,
    BundleError,
    GoldenCase,
    check_golden,
    load_golden,
    read_golden,
    read_manifest,
    verify,
)

PARITY_TOLERANCE = 1e-5
"""Amortized against non-amortized, relative to max(1, |logit|), fp32. In reduced precision it is the manifest's: a sum
that falls on the other side of a rounding moves one mode's logit as far as it moves it from the trained ranker's."""

RANKER_MODULES = ("model.ranker", "model.encoders", "model.tokens", "model.heads", "model.linear", "model.precision")


class _NoRanker(MetaPathFinder):
    """Refuses the modules that define the ranker, so that nothing can quietly fall back on them."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname in RANKER_MODULES:
            raise ImportError(f"{fullname} must not be needed to run a bundle")


def replay(ranker: Any, case: GoldenCase) -> NDArray[np.float32]:
    """Logits [C, K] f32 of one case in one pass. Works on an eager and on a TorchScript ranker."""
    return _logits(ranker, case, slice(None))


def replay_non_amortized(ranker: Any, case: GoldenCase) -> NDArray[np.float32]:
    """The same with the history encoded again for every candidate."""
    count = len(case.candidates)
    return np.concatenate([_logits(ranker, case, slice(index, index + 1)) for index in range(count)])


def replay_extended(ranker: Any, case: GoldenCase) -> NDArray[np.float32]:
    """The same with the history encoded up to its middle and extended twice, by one action and by the rest."""
    history = _history(case)
    first = len(case.actions) // 2
    with torch.inference_mode():
        encoded = ranker.encode_history(*(part[:, :first] for part in history))
        for piece in (slice(first, first + 1), slice(first + 1, None)):
            encoded = ranker.extend_history(encoded, *(part[:, piece] for part in history))
        logits: NDArray[np.float32] = ranker.score_candidates(encoded, *_request(case, slice(None)))[0].numpy()
    return logits


def check(bundle: Path, probes: list[GoldenCase]) -> None:
    """Raise BundleError unless the bundle's ranker does what its cases say."""
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        ranker = torch.jit.load(str(bundle / RANKER_FILE))  # type: ignore[no-untyped-call]
    if manifest.extendable and not hasattr(ranker, "extend_history"):
        raise BundleError(RANKER_FILE, "cannot extend a history, though the manifest says that it can")
    parity = PARITY_TOLERANCE if manifest.precision == "fp32" else manifest.golden_tolerance
    for case in [*read_golden(bundle), *probes]:
        amortized = replay(ranker, case)
        check_golden(case, amortized, manifest.golden_tolerance)
        check_golden(case._replace(logits=amortized), replay_non_amortized(ranker, case), parity)
        if manifest.extendable:
            check_golden(case._replace(logits=amortized), replay_extended(ranker, case), parity)


def _logits(ranker: Any, case: GoldenCase, chosen: slice) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: NDArray[np.float32] = ranker(*_history(case), *_request(case, chosen))[0].numpy()
    return logits


def _history(case: GoldenCase) -> tuple[Tensor, ...]:
    """embeddings [1, T, D], actions and timestamps [1, T] and the mask [1, T], all real."""
    arrays = (case.embeddings, case.actions, case.timestamps, np.ones(len(case.actions), dtype=np.bool_))
    return tuple(torch.from_numpy(array)[None] for array in arrays)


def _request(case: GoldenCase, chosen: slice) -> tuple[Tensor, ...]:
    """What scoring reads beside the history, for the chosen candidates."""
    arrays = (case.candidates[chosen], case.features[chosen], case.context, case.meta)
    return (*(torch.from_numpy(array)[None] for array in arrays), torch.tensor([case.request_time]))


if __name__ == "__main__":
    sys.meta_path.insert(0, _NoRanker())
    try:
        check(Path(sys.argv[1]), load_golden(Path(sys.argv[2])))
    except BundleError as error:
        sys.exit(str(error))
