"""The fault table, run for real: `python -m loadtests.chaos [--quick] [--row NAME …]`.

Each row starts or shares a real service under load, provokes its fault and measures its promise. The last line is JSON;
the exit status is 1 unless every row held. It does not know any fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage, staged
from loadtests.chaos.table import ROWS
from loadtests.serving import ServiceFailed, find_models

MOST_SECONDS = 900.0  # a row that hangs has not held


async def run_rows(rows: Sequence[Row], models: Path, quick: bool) -> dict[str, Figures]:
    """Run them in order, neighbours on one stage where they may share it. A row that raises has not held."""
    found: dict[str, Figures] = {}
    for _, group in itertools.groupby(rows, key=lambda row: row.stage):
        sharing = list(group)
        first = sharing[0]
        try:
            async with contextlib.AsyncExitStack() as stack:
                own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rankonce-chaos-")))
                served = await asyncio.to_thread(first.models, own) if first.models else models
                stage = await stack.enter_async_context(staged(served, first.settings, first.redis, quick))
                for row in sharing:
                    print(f"{row.name}: {row.fault} …", file=sys.stderr, flush=True)
                    found[row.name] = await _run(row, stage)
        except Exception as error:  # it did not start, or ended by itself: nothing that was tried on it stands
            for row in sharing:
                found.setdefault(row.name, Figures()).broken.append(_told(error))
    return found


async def _run(row: Row, stage: Stage) -> Figures:
    """Whatever a row raises, the rows that are left are still to be tried."""
    try:
        async with asyncio.timeout(MOST_SECONDS):
            return await row.run(stage)
    except Exception as error:
        return Figures(broken=[_told(error)])


def _told(error: BaseException) -> str:
    """The first error of a group is the one that ended the others."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def show(rows: Sequence[Row], found: dict[str, Figures], console: Console) -> None:
    table = Table("row", "fault")
    for name in ("sent", "answered", "degraded", "shed", "failed", "worst ms", "recovery s"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        f = found[row.name]
        counts = (str(count) for count in (f.sent, f.answered, f.degraded, f.shed, f.failed))
        recovery = "-" if f.recovery_s is None else f"{f.recovery_s:.2f}"
        verdict = "[green]held[/]" if f.held else "[red]broken[/]"
        table.add_row(row.name, row.fault, *counts, f"{f.worst_ms:.0f}", recovery, verdict)
    console.print(table)
    for row in rows:
        for name, value in found[row.name].facts.items():
            shown = f"{value:.6g}" if isinstance(value, float) else value
            console.print(f"  {row.name}: {name} {shown}", highlight=False, markup=False)
    for row in rows:
        for promise in found[row.name].broken:
            console.print(f"  {row.name} broke its promise: {promise}", highlight=False, markup=False)


def main() -> int:
    options = _options()
    known = {row.name: row for row in ROWS}
    unknown = [name for name in options.row if name not in known]
    if unknown:
        sys.exit(f"no row {', '.join(unknown)}; there are {', '.join(known)}")
    rows = [row for row in ROWS if row.name in options.row or (not options.row and not row.slow)]
    begun = time.perf_counter()
    try:
        models = find_models(options.models)
        found = asyncio.run(run_rows(rows, models, options.quick))
    except (ServiceFailed, OSError) as error:
        sys.exit(f"refused: {error}")
    seconds = time.perf_counter() - begun
    held = all(figures.held for figures in found.values())
    show(rows, found, Console(width=None if sys.stdout.isatty() else 150))
    cores = len(os.sched_getaffinity(0))
    print(f"{len(rows)} rows in {seconds:.0f} s; service, Redis, proxy and generator share {cores} cores")
    facts = {name: {**asdict(figures), "held": figures.held} for name, figures in found.items()}
    print(msgspec.json.encode({"held": held, "seconds": round(seconds, 1), "rows": facts}).decode(), flush=True)
    return 0 if held else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds a row: to see that every promise can be kept")
    parser.add_argument("--row", nargs="+", default=[], metavar="NAME", help="these rows only; slow ones must be named")
    parser.add_argument("--models", type=Path, help="model repository; default: the demo's, or a quick one is trained")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
