"""Where the real data sets are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """The path of a real data set by its name in RANKONCE_DATA (or `shared/data` beside the repository)."""

    def find(name: str) -> Path:
        path = Path(os.environ.get("RANKONCE_DATA", _BESIDE)) / name
        if not path.exists():
            pytest.skip(f"real data: {name} is not there (set RANKONCE_DATA to a folder that holds it)")
        return path

    return find
