"""The bundle: the directory that training hands to the service, and the only thing both packages know.

A bundle is `<root>/<name>/<version>/` with four files:

    ranker.pt           the TorchScript ranker, exported unfrozen (the service freezes it)
    items.safetensors   item embeddings and ids; row 0 is the learned unknown item
    golden.json         inputs and their logits, replayed by whoever loads the ranker
    manifest.json       everything else, and the sha256 of the three others

This package writes, reads and verifies those files, and is all that the service imports of model/. It does not
know torch, HTTP, Redis, or how a ranker is trained.
"""

from model.bundle.directory import verify, versions, write_bundle
from model.bundle.files import GOLDEN_FILE, ITEMS_FILE, MANIFEST_FILE, RANKER_FILE, BundleError, sha256
from model.bundle.golden import GoldenCase, check_golden, load_golden, read_golden, save_golden
from model.bundle.items import UNKNOWN_ROW, ItemTable, read_items
from model.bundle.manifest import Calibration, Feature, Manifest, Surface, Task, read_manifest, window_start

__all__ = [
    "GOLDEN_FILE",
    "ITEMS_FILE",
    "MANIFEST_FILE",
    "RANKER_FILE",
    "UNKNOWN_ROW",
    "BundleError",
    "Calibration",
    "Feature",
    "GoldenCase",
    "ItemTable",
    "Manifest",
    "Surface",
    "Task",
    "check_golden",
    "load_golden",
    "read_golden",
    "read_items",
    "read_manifest",
    "save_golden",
    "sha256",
    "verify",
    "versions",
    "window_start",
    "write_bundle",
]
