"""A bundle that a test may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def bundle(repository: Path, tmp_path: Path) -> Path:
    """A copy of the feed bundle that a test may damage."""
    return Path(shutil.copytree(repository / "feed" / "1", tmp_path / "feed" / "1"))
