"""The command line of next-item prediction: `python -m model.sequential train | evaluate | report`.

It turns options into calls and typed errors into one line. It does not know how anything is trained or ranked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import torch
import typer

from model.options import RunFolder, Threads, console, one_line_errors, one_of
from model.progress import ProgressReporter
from model.run import Run, RunError
from model.sequential.loader import load_sequences
from model.sequential.losses import LossName
from model.sequential.report import results_tables
from model.sequential.sequences import Protocol, Sequences
from model.sequential.settings import Encoder, NextItemSettings, published
from model.sequential.trainer import evaluate, restore, train

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command("train")
def train_command(
    data: Annotated[Path, typer.Option(help="a file of sequences, or a MovieLens 1M folder")],
    run: RunFolder,
    encoder: Annotated[str, typer.Option(help=" | ".join(get_args(Encoder)))] = "sasrec",
    loss: Annotated[str, typer.Option(help=" | ".join(get_args(LossName)))] = "sampled_softmax",
    protocol: Annotated[
        str | None, typer.Option(help="validated (early stopping) or fixed; default: the data set's published one")
    ] = None,
    seed: Annotated[int, typer.Option(help="of weights, batches and negatives")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="throw away what the folder holds")] = False,
    dim: Annotated[int | None, typer.Option()] = None,
    layers: Annotated[int | None, typer.Option()] = None,
    heads: Annotated[int | None, typer.Option()] = None,
    max_length: Annotated[int | None, typer.Option(help="items of a window")] = None,
    dropout: Annotated[float | None, typer.Option()] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    batch_size: Annotated[int | None, typer.Option(help="members a step")] = None,
    epochs: Annotated[int | None, typer.Option()] = None,
    patience: Annotated[int | None, typer.Option(help="epochs without a better validation")] = None,
    threads: Threads = 1,
) -> None:
    """Train, or go on with a run that was interrupted. What is not given is as published."""
    torch.set_num_threads(threads)
    with one_line_errors():
        given = {
            "protocol": None if protocol is None else one_of(protocol, Protocol, "--protocol"),
            "dim": dim,
            "layers": layers,
            "heads": heads,
            "max_length": max_length,
            "dropout": dropout,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "epochs": epochs,
            "patience": patience,
        }
        sequences = _sequences(data)
        encoder_name = cast(Encoder, one_of(encoder, Encoder, "--encoder"))
        chosen = {name: value for name, value in given.items() if value is not None}
        settings = NextItemSettings(
            data=str(data.resolve()),
            encoder=encoder_name,
            loss=cast(LossName, one_of(loss, LossName, "--loss")),
            seed=seed,
            **{**published(sequences.name, encoder_name), **chosen},
        )
        folder = Run(run)
        with folder.locked():
            folder.open(settings, fresh=fresh)
            if folder.checkpoint() is not None:
                console.print(f"going on with {run} after its last finished epoch")
            with ProgressReporter(console) as reporter:
                result = train(sequences, settings, folder, reporter=reporter)
        console.print(*results_tables([result]))


@app.command("evaluate")
def evaluate_command(run: RunFolder, threads: Threads = 1) -> None:
    """Rank a run's test items with the best epoch so far, also while it is training."""
    torch.set_num_threads(threads)
    with one_line_errors():
        folder = Run(run)
        settings = folder.settings_as(NextItemSettings)
        sequences = _sequences(Path(settings.data))
        for name, value in evaluate(restore(sequences, settings, folder), sequences, settings, "test").items():
            console.print(f"{name:8} {value:.4f}", highlight=False)


@app.command("report")
def report_command(runs: Annotated[Path, typer.Argument(help="the folder that holds the runs")]) -> None:
    """The table of all finished runs: mean and standard deviation over seeds, beside what was published."""
    with one_line_errors():
        found = [Run(path.parent).result() for path in sorted(runs.rglob("result.json"))]
        results = [result for result in found if result is not None and "test" in result]
        if not results:
            raise RunError(f"{runs} holds no finished run; train one first")
        console.print(*results_tables(results))


def _sequences(data: Path) -> Sequences:
    with console.status(f"reading {data}"):
        return load_sequences(data)
