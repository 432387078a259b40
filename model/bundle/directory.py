"""A bundle's directory: written whole or not at all, and verified file by file. It does not load the ranker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from model.bundle.files import GOLDEN_FILE, ITEMS_FILE, MANIFEST_FILE, RANKER_FILE, BundleError, sha256
from model.bundle.golden import GoldenCase, save_golden
from model.bundle.items import ItemTable, save_items
from model.bundle.manifest import Manifest


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
        save_items(building / ITEMS_FILE, items)
        save_golden(building / GOLDEN_FILE, golden)
        files = {name: sha256(building / name) for name in (RANKER_FILE, ITEMS_FILE, GOLDEN_FILE)}
        manifest = manifest.model_copy(update={"files": files})
        (building / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))
        building.rename(directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return manifest


def verify(directory: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest's sha256. Raises BundleError naming the first file that differs.

    `directory` is a bundle's, `<root>/<name>/<version>`: a link that leads out of `root` is refused.
    """
    root = directory.parent.parent.resolve()
    for name in (RANKER_FILE, ITEMS_FILE, GOLDEN_FILE):
        path = directory / name
        expected = manifest.files.get(name)
        if expected is None:
            raise BundleError(name, "has no sha256 in the manifest")
        if not path.is_file():
            raise BundleError(name, f"is missing from {directory}")
        if not path.resolve().is_relative_to(root):
            raise BundleError(name, "is a link that leads out of the model repository")
        if sha256(path) != expected:
            raise BundleError(name, "differs from the manifest's sha256 (damaged, half-written or tampered with)")


def versions(root: Path, name: str) -> list[str]:
    """The versions of a model in a repository, oldest first. Hidden and unnumbered folders are not versions."""
    folder = root / name
    found: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    return sorted((p.name for p in found if p.name.isdigit() and p.is_dir()), key=int)
