"""One quick demo for every test that looks at it: it trains, so it is made once a test run."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class QuickDemo(NamedTuple):
    """Where the demo's files are, how it ended and what it printed."""

    folder: Path
    status: int
    output: str


class ServedDemo(NamedTuple):
    """What `make serve` leaves running."""

    process: subprocess.Popen[str]
    url: str
    service: int
    """Process id."""


def run_quick_demo(folder: Path) -> QuickDemo:
    """`python -m loadtests.demo --quick`, to its end."""
    command = [sys.executable, "-m", "loadtests.demo", "--quick", "--folder", str(folder)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return QuickDemo(folder, result.returncode, result.stdout)


@contextlib.contextmanager
def served(demo: QuickDemo) -> Iterator[ServedDemo]:
    """The trained demo with `--serve`, on a free port. Terminated at the end, and killed if that is not enough."""
    command = [sys.executable, "-m", "loadtests.demo", "--quick", "--serve", "--folder", str(demo.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        ready = re.compile(r"ready at (http://\S+) .*pid (\d+)")
        try:
            url, service = next(found.groups() for line in process.stdout if (found := ready.search(line)))
            yield ServedDemo(process, url, int(service))
        finally:
            process.terminate()  # first, also after a failure: killed, it would leave its service running
            try:
                process.communicate(timeout=60)
            finally:
                process.kill()
