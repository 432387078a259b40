"""What every part of a bundle needs: the files' names and the one way of refusing them. Knows no contents."""

from __future__ import annotations

import hashlib
from pathlib import Path

RANKER_FILE = "ranker.pt"
ITEMS_FILE = "items.safetensors"
GOLDEN_FILE = "golden.json"
MANIFEST_FILE = "manifest.json"


class BundleError(Exception):
    """A bundle that must not be served. `file` is the offending file's name, `reason` what is wrong with it."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
