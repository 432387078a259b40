"""The command `python -m model compare-encoders`. It does not know how encoders are trained, timed or told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from model.console import contest_table, sizes_table
from model.contest import Contender, contest, measured_sizes
from model.datasets.loader import SYNTHETIC
from model.options import RunFolder, Threads, console, one_line_errors, read_dataset, surface_option
from model.progress import ProgressReporter
from model.recipes import recipe
from model.run import Run, TrainingSettings


def compare_encoders(
    data: Annotated[str, typer.Option(help=f"`{SYNTHETIC}`, a MovieLens 100K folder or a file of sequences")],
    run: RunFolder,
    encoders: Annotated[str, typer.Option(help="comma-separated ENCODER:WIDTHxLAYERS, the reference first")],
    surface: Annotated[str, typer.Option(help="feed or ads")] = "feed",
    seeds: Annotated[int, typer.Option(min=0, help="0: show sizes and times, train nothing")] = 3,
    learning_rates: Annotated[str, typer.Option(help="each encoder gets the best of these")] = "1e-3,2e-3,4e-3",
    epochs: Annotated[int | None, typer.Option(help="default: the data set's recipe")] = None,
    candidates: Annotated[int, typer.Option(min=1, help="of the request that is timed")] = 512,
    threads: Threads = 1,
) -> None:
    """Compare encoders as rankers: quality over seeds, parameters, time of a request. Goes on where it stopped."""
    torch.set_num_threads(threads)
    with one_line_errors():
        data = data if data == SYNTHETIC else str(Path(data).resolve())
        dataset = read_dataset(data, surface_option(surface), 0)
        base = TrainingSettings(data=data, surface=dataset.surface, **recipe(dataset.name, "transformer"))
        base = replace(base, epochs=epochs or base.epochs)
        contenders = [Contender.read(text.strip()) for text in encoders.split(",")]
        rates = [float(rate) for rate in learning_rates.split(",")]
        with console.status("timing requests"):
            sizes = measured_sizes(dataset, base, contenders, candidates)
        console.print(sizes_table(f"one request, T = {base.max_history}, C = {candidates}", sizes))
        if seeds == 0:
            return
        folder = Run(run)
        with folder.locked(), ProgressReporter(console) as reporter:
            outcome = contest(dataset, base, contenders, run, seeds=seeds, rates=rates, reporter=reporter.named)
        console.print(contest_table(f"{dataset.name}, {surface}, test split, {seeds} seeds", outcome))
        target = run / "contest.json"
        written = {name: {"parameters": size.parameters, **size.latency._asdict()} for name, size in sizes.items()}
        target.write_text(json.dumps({"sizes": written, **outcome.to_dict()}, indent=2))
        console.print(f"written to {target}")
