"""What a training says while it runs."""

from __future__ import annotations

import io

from rich.console import Console

from model.progress import ProgressReporter


def test_each_epoch_leaves_a_line() -> None:
    """A log without a terminal still says how training went."""
    out = io.StringIO()
    with ProgressReporter(Console(file=out, width=160)).named("concat-seed1") as reporter:
        reporter.step(1, 1, 2, 0.7)
        reporter.epoch(1, 0.7, 0.65, best=True)

    assert "concat-seed1: epoch 1: loss 0.7000, validation 0.6500  best so far" in out.getvalue()
