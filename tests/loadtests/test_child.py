"""Child: what it says is at hand, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from loadtests.child import Child, child

SAYS = "import sys, time; print('here I am', file=sys.stderr, flush=True); time.sleep(60)"
STAYS = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SAYS


def said(running: Child) -> str:
    while not running.log:
        time.sleep(0.01)
    return running.last_words


@pytest.mark.parametrize(
    ("program", "seconds", "status"), [(SAYS, 20.0, -signal.SIGTERM), (STAYS, 0.1, -signal.SIGKILL)]
)
def test_it_is_asked_to_end_and_then_made_to(program: str, seconds: float, status: int) -> None:
    """One that does not listen has so many seconds; the log can be read meanwhile, and afterwards."""
    with child([sys.executable, "-c", program], seconds) as running:
        assert said(running) == "here I am\n"

    assert running.process.returncode == status
    assert running.last_words == "here I am\n"


def test_it_ends_also_when_the_block_fails() -> None:
    """No server outlives the error of who started it."""
    with pytest.raises(ValueError), child([sys.executable, "-c", SAYS], 20.0) as running:
        raise ValueError

    assert running.process.returncode == -signal.SIGTERM


def test_it_has_its_environment_and_its_cores() -> None:
    """Both from the start, so that what it starts has them too."""
    core = min(os.sched_getaffinity(0))
    program = "import os, sys; print(os.environ['WORD'], os.sched_getaffinity(0), file=sys.stderr)"

    with child([sys.executable, "-c", program], 20.0, {"WORD": "hello"}, frozenset([core])) as running:
        assert said(running) == f"hello {{{core}}}\n"
