"""One quick demo for every test that looks at it: it trains, so it is made once a test run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class QuickDemo(NamedTuple):
    """Where the demo's files are, how it ended and what it printed."""

    folder: Path
    status: int
    output: str


def run_quick_demo(folder: Path) -> QuickDemo:
    """`python -m loadtests.demo --quick`, to its end."""
    command = [sys.executable, "-m", "loadtests.demo", "--quick", "--folder", str(folder)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return QuickDemo(folder, result.returncode, result.stdout)
