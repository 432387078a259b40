"""What a load test must know of the bundles it asks: item ids and names. Read from the files, without any model code.

It does not know weights, or who serves the bundles.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import get_args

import msgspec
from safetensors import safe_open

from service.schemas import Surface

SURFACES: tuple[Surface, ...] = get_args(Surface)


class _Named(msgspec.Struct):
    name: str


class _Manifest(msgspec.Struct):
    """The part of `manifest.json` that a request is made from."""

    tasks: list[_Named]
    actions: list[str]
    features: list[_Named]
    context: list[_Named]
    max_candidates: int


@dataclass(frozen=True)
class SurfaceFacts:
    """What one surface's newest bundle takes and answers. `items`: the known ids, without the unknown row."""

    surface: Surface
    items: tuple[str, ...]
    tasks: frozenset[str]
    actions: tuple[str, ...]
    features: int
    context: tuple[str, ...]
    max_candidates: int


@dataclass(frozen=True)
class Catalog:
    surfaces: dict[Surface, SurfaceFacts]

    @property
    def any(self) -> SurfaceFacts:
        """A surface to make histories from: they are shared by all."""
        return next(iter(self.surfaces.values()))


def read_catalog(repository: Path) -> Catalog:
    """Read the newest bundle of each surface under `repository`. Raises FileNotFoundError where there is none."""
    found = {surface: _read(surface, newest) for surface in SURFACES if (newest := _newest(repository / surface))}
    if not found:
        raise FileNotFoundError(f"{repository} holds no bundle; expected {' or '.join(SURFACES)}/<version>/")
    return Catalog(found)


def _newest(folder: Path) -> Path | None:
    versions = [path for path in folder.glob("[0-9]*") if path.name.isdigit() and (path / "manifest.json").is_file()]
    return max(versions, key=lambda path: int(path.name), default=None)


def _read(surface: Surface, bundle: Path) -> SurfaceFacts:
    manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=_Manifest)
    with safe_open(bundle / "items.safetensors", framework="numpy") as arrays:
        text = arrays.get_tensor("id_bytes").tobytes()
        ids = tuple(text[a:b].decode() for a, b in pairwise(arrays.get_tensor("id_offsets").tolist()))
    return SurfaceFacts(
        surface=surface,
        items=ids[1:],
        tasks=frozenset(task.name for task in manifest.tasks),
        actions=tuple(manifest.actions),
        features=len(manifest.features),
        context=tuple(field.name for field in manifest.context),
        max_candidates=manifest.max_candidates,
    )
