"""The one way of refusing a bundle."""

from __future__ import annotations

import hashlib
from pathlib import Path

from model.bundle import BundleError, sha256


def test_an_error_names_the_file_and_the_reason() -> None:
    """Whoever logs the error sees which file and why."""
    error = BundleError("items.safetensors", "is missing")

    assert (error.file, error.reason, str(error)) == (
        "items.safetensors",
        "is missing",
        "items.safetensors: is missing",
    )


def test_sha256_is_of_the_whole_file(tmp_path: Path) -> None:
    """Files longer than any buffer hash as their bytes do."""
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)

    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
