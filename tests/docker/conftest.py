"""Programs that these tests need and a machine may lack: each is skipped by name, never silently."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

Promtool = Callable[..., str]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Runs promtool; a failure shows what it said."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool: `make system-deps` installs it")

    def run(*words: object, stdin: str | None = None) -> str:
        result = subprocess.run([program, *map(str, words)], input=stdin, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run
