"""Export: a trained ranker becomes a bundle, proven in a fresh process before it gets its place.

The proof is `python -m model.check`: a process in which `model.ranker` cannot be imported loads the TorchScript file
and must give the eager ranker's logits at shapes that the golden cases do not hold. A mismatch leaves no bundle. This
module does not know data sets or training.

The golden logits are the trained ranker's, in float32, whatever the bundle's precision: what is exported at reduced
precision is proven to be that ranker, to the tolerance that the manifest states.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import (
    BundleError,
    Feature,
    GoldenCase,
    ItemTable,
    Manifest,
    Surface,
    Task,
    save_golden,
    write_bundle,
)
from model.check import replay
from model.config import RankerConfig
from model.precision import TOLERANCE, Precision, at_precision
from model.ranker import Ranker

GOLDEN_SHAPES = ((0, 1), (1, 3), (5, 7))
"""(T, C) of the cases that travel in the bundle: small, since every load of the bundle replays them."""

PROBE_SHAPES = ((0, 5), (2, 1), (13, 31), (29, 64))
"""(T, C) of the cases that only the export's own check sees."""


def export_bundle(
    directory: Path,
    ranker: Ranker,
    config: RankerConfig,
    items: ItemTable,
    *,
    surface: Surface,
    tasks: Sequence[Task],
    actions: Sequence[str],
    features: Sequence[Feature] = (),
    context: Sequence[Feature] = (),
    max_candidates: int = 16384,
    precision: Precision = "fp32",
    training: dict[str, float | int | str] | None = None,
    seed: int = 0,
) -> Manifest:
    """Write the bundle `<root>/<name>/<version>` that `directory` names, or nothing. Raises BundleError."""
    if directory.exists():
        raise BundleError(directory.name, "this version exists already; bundles are immutable, export a new version")
    ranker = ranker.eval()
    served = at_precision(ranker, precision)
    manifest = Manifest(
        name=directory.parent.name,
        version=directory.name,
        surface=surface,
        torch_version=torch.__version__.split("+")[0],
        encoder=config.encoder,
        extendable=config.extendable,
        embedding_dim=config.embedding_dim,
        layers=config.layers,
        heads=config.heads,
        ffn_dim=config.ffn_dim,
        max_history=config.max_history,
        slack=config.slack,
        max_candidates=max_candidates,
        tasks=tuple(tasks),
        actions=tuple(actions),
        features=tuple(features),
        context=tuple(context),
        meta_dim=config.meta_dim,
        embedding_version=items.fingerprint(),
        precision=precision,
        golden_tolerance=TOLERANCE[precision],
        training=training or {},
    )
    rng = np.random.default_rng(seed)
    golden = [_case(ranker, config, items, rng, *shape) for shape in GOLDEN_SHAPES]
    probes = [_case(ranker, config, items, rng, *shape) for shape in PROBE_SHAPES]
    with tempfile.TemporaryDirectory(prefix="rankonce-export-") as scratch:
        artifact = Path(scratch) / "ranker.pt"
        _script(served, artifact)
        staged = Path(scratch) / manifest.name / manifest.version
        manifest = write_bundle(staged, manifest, artifact, items, golden)
        save_golden(Path(scratch) / "probes.json", probes)
        _check_in_fresh_process(staged, Path(scratch) / "probes.json")
        directory.parent.mkdir(parents=True, exist_ok=True)
        incoming = directory.with_name(f".{directory.name}.incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        shutil.copytree(staged, incoming)  # the scratch folder may be on another file system
        incoming.rename(directory)
    return manifest


def _script(ranker: Ranker, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        torch.jit.save(torch.jit.script(ranker), str(path))


def _check_in_fresh_process(bundle: Path, probes: Path) -> None:
    command = [sys.executable, "-m", "model.check", str(bundle), str(probes)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
    if result.returncode:
        raise BundleError("ranker.pt", f"the exported file failed its check: {result.stderr.strip()}")


def _case(
    ranker: Ranker, config: RankerConfig, items: ItemTable, rng: np.random.Generator, length: int, count: int
) -> GoldenCase:
    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    def like(mean: torch.Tensor, scale: torch.Tensor, *shape: int) -> NDArray[np.float32]:
        """Raw inputs as training saw them: far outside, cross layers amplify rounding beyond any tolerance."""
        inputs: NDArray[np.float32] = normal(*shape) * scale.numpy() + mean.numpy()
        return inputs

    length = min(length, config.max_history)
    timestamps = 1_700_000_000_000 + np.cumsum(rng.integers(0, 3_600_000, length))
    case = GoldenCase(
        embeddings=items.embeddings[rng.integers(0, len(items.ids), length)].astype(np.float32),
        actions=rng.integers(0, config.actions, length),
        timestamps=timestamps.astype(np.int64),
        candidates=items.embeddings[rng.integers(0, len(items.ids), count)].astype(np.float32),
        features=like(ranker.head.feature_mean, ranker.head.feature_scale, count, config.features),
        context=like(ranker.head.context_mean, ranker.head.context_scale, config.context),
        meta=normal(config.meta_dim),
        request_time=1_800_000_000_000,
        logits=np.zeros((count, config.tasks), dtype=np.float32),
    )
    return case._replace(logits=replay(ranker, case))
