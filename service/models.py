"""A loaded model, and the seam between ranking and inference: the `Ranker` protocol, which `runtime.py` implements with
TorchScript. It does not know torch, HTTP, or which model serves.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.bundle import MANIFEST_FILE, RANKER_FILE, BundleError, Manifest
from service.encoded import EncodedHistory
from service.inputs import CandidateArrays, HistoryArrays
from service.items import Items

log = logging.getLogger(__name__)


class Scored(NamedTuple):
    """logits: [C, K] float32, finite · seconds: computing them took, waiting for a thread not included."""

    logits: NDArray[np.float32]
    seconds: float


class Begun(NamedTuple):
    """One trip to an inference thread that does both: `encoded` is ready first, and others may wait for it alone.

    Cancelling `scored` stops the scoring, cancelling `encoded` the encoding.
    """

    encoded: asyncio.Future[EncodedHistory]
    scored: asyncio.Future[Scored]


class Ahead(NamedTuple):
    """An encoding that nobody waits for yet. `hurry` makes it urgent; cancelling `encoded` drops it, if not begun."""

    encoded: asyncio.Future[EncodedHistory]
    hurry: Callable[[], None]


class Ranker(Protocol):
    """A loaded ranker. Every method raises InferenceFailed when the artifact fails or gives what is not finite."""

    def encode_history(self, history: HistoryArrays) -> Awaitable[EncodedHistory]:
        """Encode a history once, for any number of candidates."""
        ...

    def encode_ahead(self, history: HistoryArrays, prefix: EncodedHistory | None = None) -> Ahead:
        """The same when a thread can be spared, and not before, unless it is hurried.

        prefix: an encoding of the history's first actions: a causal ranker encodes only the others.
        """
        ...

    def encode_and_score(
        self, history: HistoryArrays, candidates: CandidateArrays, prefix: EncodedHistory | None = None
    ) -> Begun:
        """Both, in one trip: what a request does whose history nobody has encoded yet. prefix: as above."""
        ...

    def score_candidates(self, encoded: EncodedHistory, candidates: CandidateArrays) -> Awaitable[Scored]:
        """Score all candidates against one encoded history."""
        ...

    def score_non_amortized(self, history: HistoryArrays, candidates: CandidateArrays) -> Awaitable[Scored]:
        """The same logits with the history encoded anew for every candidate: the baseline."""
        ...

    def explain(self, encoded: EncodedHistory, candidates: CandidateArrays) -> Awaitable[NDArray[np.float32]]:
        """[C, T] float32: the share of each candidate's attention that each history action draws."""
        ...


def refuse_newer_torch(manifest: Manifest, running: str) -> None:
    """TorchScript promises to read files of older releases, not of newer ones. Patch releases do not matter."""
    exported, ours = (re.match(r"(\d+)\.(\d+)", version) for version in (manifest.torch_version, running))
    assert ours is not None
    if exported is None:
        raise BundleError(MANIFEST_FILE, f"torch_version {manifest.torch_version!r} is not a version")
    if tuple(map(int, exported.groups())) > tuple(map(int, ours.groups())):
        raise BundleError(MANIFEST_FILE, f"needs torch {manifest.torch_version} or newer, this is {running}")


@dataclass(frozen=True)
class LoadedModel:
    """A verified, warmed bundle. A request takes it once and uses nothing else, so an answer never mixes versions.

    spare: the same ranker on threads that nobody needs; its methods raise GivenBack when one is needed after all
    """

    manifest: Manifest
    items: Items
    ranker: Ranker
    spare: Ranker | None = None

    @cached_property
    def identity(self) -> str:
        """Names the very bundle, not only its version: part of every key of the encoded-history cache."""
        manifest = self.manifest
        return f"{manifest.name}/{manifest.version}/{manifest.files.get(RANKER_FILE, '')[:16]}"
