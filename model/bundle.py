"""The bundle: the directory that training hands to the service, and the only thing both packages know.

A bundle is `<root>/<name>/<version>/` with four files:

    ranker.pt           the TorchScript ranker, exported unfrozen (the service freezes it)
    items.safetensors   item embeddings and ids; row 0 is the learned unknown item
    golden.json         inputs and their logits, replayed by whoever loads the ranker
    manifest.json       everything else, and the sha256 of the three others

This module writes, reads and verifies those files. It does not know torch, HTTP, Redis, or how a ranker is trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

FORMAT_VERSION = 1
RANKER_FILE = "ranker.pt"
ITEMS_FILE = "items.safetensors"
GOLDEN_FILE = "golden.json"
MANIFEST_FILE = "manifest.json"
UNKNOWN_ROW = 0

Surface = Literal["feed", "ads"]


class BundleError(Exception):
    """A bundle that must not be served. `file` is the offending file's name, `reason` what is wrong with it."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Calibration(_Frozen):
    """Platt scaling: probability = sigmoid(scale · logit + offset). Identity unless fitted."""

    scale: float = Field(default=1.0, gt=0.0)
    offset: float = 0.0


class Task(_Frozen):
    """One output of the ranker: a logit whose calibrated sigmoid is the probability of `name`."""

    name: str
    weight: float = Field(default=1.0, ge=0.0, description="default weight in the feed's utility")
    calibration: Calibration = Calibration()


class Feature(_Frozen):
    """One float input by name. `default` stands in for a value that the request leaves out."""

    name: str
    default: float = 0.0


class Manifest(_Frozen):
    """What the service must know of a ranker to serve it. Sizes are counts; `files` maps a file name to its sha256."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    version: str = Field(pattern=r"^[0-9]+$", description="versions are ordered as numbers")
    surface: Surface
    torch_version: str
    encoder: str
    extendable: bool = Field(default=False, description="the artifact has extend_history (causal encoders)")
    embedding_dim: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    ffn_dim: int = Field(ge=1)
    max_history: int = Field(ge=1, description="T_max: longest window, in actions")
    slack: int = Field(ge=1, description="S: the window's start moves in steps of this many actions")
    max_candidates: int = Field(ge=1, description="most candidates one request may carry")
    tasks: tuple[Task, ...] = Field(min_length=1)
    actions: tuple[str, ...] = Field(min_length=1, max_length=65536, description="an action's id is its index")
    features: tuple[Feature, ...] = ()
    context: tuple[Feature, ...] = ()
    meta_dim: int = Field(ge=0, description="width of the member meta embedding (LiMAML); zeros until there is one")
    embedding_version: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="names the item table histories refer to")
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    golden_tolerance: float = Field(default=1e-4, gt=0.0)
    training: dict[str, float | int | str] = Field(default_factory=dict, description="offline figures, for people")
    files: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        for what, names in (
            ("tasks", [t.name for t in self.tasks]),
            ("actions", list(self.actions)),
            ("features", [f.name for f in self.features]),
            ("context", [f.name for f in self.context]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: names repeat")
        if self.slack > self.max_history:
            raise ValueError("slack is larger than max_history")
        if self.surface == "ads" and len(self.tasks) != 1:
            raise ValueError("an ads ranker has exactly one task, the click")
        return self

    def window_start(self, total: int) -> int:
        """Index of the first action that a ranker reads of a log of `total` actions ever appended."""
        return window_start(total, self.max_history, self.slack)


def window_start(total: int, max_history: int, slack: int) -> int:
    """The anchored window: S · ⌈max(0, total − T_max) / S⌉, counted in actions ever appended.

    Between two moves of the anchor the window only grows at its end, so a position (index − start) never changes and
    a causal encoder may extend what it has encoded. The window is never longer than `max_history`.
    """
    return slack * -(-max(0, total - max_history) // slack)


@dataclass(frozen=True)
class ItemTable:
    """Item ids and embeddings. `ids[r]` names row r; row 0 is the unknown item and has the empty id.

    embeddings: [N, D] float16 — histories carry float16, so offline and online read the same numbers.
    """

    ids: tuple[str, ...]
    embeddings: NDArray[np.float16]

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or self.embeddings.dtype != np.float16:
            raise ValueError("embeddings must be [N, D] float16")
        if len(self.ids) != len(self.embeddings):
            raise ValueError(f"{len(self.ids)} ids for {len(self.embeddings)} embeddings")
        if not self.ids or self.ids[UNKNOWN_ROW] != "":
            raise ValueError("row 0 must be the unknown item, with the empty id")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("item ids repeat")
        if not np.isfinite(self.embeddings).all():
            raise ValueError("embeddings must be finite")

    def fingerprint(self) -> str:
        """The embedding version: equal tables, and only those, share it. Histories are namespaced by it."""
        digest = hashlib.sha256("\0".join(self.ids).encode())
        digest.update(np.ascontiguousarray(self.embeddings).tobytes())
        return digest.hexdigest()[:12]


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


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bundle(
    directory: Path, manifest: Manifest, ranker: Path, items: ItemTable, golden: Sequence[GoldenCase]
) -> Manifest:
    """Write a complete bundle at `directory`, or nothing. Returns the manifest with the files' sha256.

    The bundle is built beside its place and renamed into it, so a reader never meets half of one. An existing
    directory is refused: versions are immutable.
    """
    if directory.exists():
        raise BundleError(directory.name, "this version exists already; bundles are immutable, export a new version")
    building = directory.with_name(f".{directory.name}.building-{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        shutil.copyfile(ranker, building / RANKER_FILE)
        _write_items(building / ITEMS_FILE, items)
        save_golden(building / GOLDEN_FILE, golden)
        files = {name: sha256(building / name) for name in (RANKER_FILE, ITEMS_FILE, GOLDEN_FILE)}
        manifest = manifest.model_copy(update={"files": files})
        (building / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))
        building.rename(directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """Read and validate `manifest.json`. Raises BundleError."""
    try:
        return Manifest.model_validate_json((directory / MANIFEST_FILE).read_bytes())
    except FileNotFoundError:
        raise BundleError(MANIFEST_FILE, f"is missing from {directory}") from None
    except (OSError, ValidationError) as error:
        raise BundleError(MANIFEST_FILE, f"cannot be read: {error}") from error


def verify(directory: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest's sha256. Raises BundleError naming the first file that differs."""
    for name in (RANKER_FILE, ITEMS_FILE, GOLDEN_FILE):
        path = directory / name
        expected = manifest.files.get(name)
        if expected is None:
            raise BundleError(name, "has no sha256 in the manifest")
        if not path.is_file():
            raise BundleError(name, f"is missing from {directory}")
        if sha256(path) != expected:
            raise BundleError(name, "differs from the manifest's sha256 (damaged, half-written or tampered with)")


def read_items(directory: Path, manifest: Manifest) -> ItemTable:
    """Read `items.safetensors` and check it against the manifest. Raises BundleError."""
    try:
        arrays = load_file(directory / ITEMS_FILE)
        offsets = arrays["id_offsets"]
        text = arrays["id_bytes"].tobytes()
        ids = tuple(text[a:b].decode() for a, b in pairwise(offsets))
        table = ItemTable(ids, arrays["embeddings"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BundleError(ITEMS_FILE, f"cannot be read: {error}") from error
    if table.embeddings.shape[1] != manifest.embedding_dim:
        raise BundleError(
            ITEMS_FILE, f"is {table.embeddings.shape[1]} wide, the manifest says {manifest.embedding_dim}"
        )
    return table


def read_golden(directory: Path) -> list[GoldenCase]:
    """Read `golden.json`. Raises BundleError."""
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


def _write_items(path: Path, items: ItemTable) -> None:
    encoded = [item_id.encode() for item_id in items.ids]
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in encoded])]).astype(np.int64)
    id_bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    save_file({"embeddings": items.embeddings, "id_bytes": id_bytes, "id_offsets": offsets}, path)


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


def versions(root: Path, name: str) -> list[str]:
    """The versions of a model in a repository, oldest first. Hidden and unnumbered folders are not versions."""
    folder = root / name
    found: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    return sorted((p.name for p in found if p.name.isdigit() and p.is_dir()), key=int)
