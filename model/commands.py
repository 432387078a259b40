"""The command line of the ranker: `python -m model train | evaluate | compare-encoders | export`.

It turns options into calls and typed errors into one line. It does not know how anything is trained or measured.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import torch
import typer

from model.bundle import Feature, Task, versions
from model.compare_encoders import compare_encoders
from model.config import Encoder
from model.console import calibration_table, evaluation_table, gains_table, training_table
from model.datasets.base import Dataset
from model.datasets.loader import SYNTHETIC
from model.evaluate import BASELINES, Baseline, evaluate, popularity_quality
from model.export import export_bundle
from model.histories_file import write_histories
from model.options import (
    RunFolder,
    Threads,
    console,
    dataset_of,
    encoder_option,
    one_line_errors,
    precision_option,
    read_dataset,
    surface_option,
)
from model.precision import Precision, at_precision
from model.progress import ProgressReporter
from model.ranker import Ranker
from model.recipes import recipe
from model.requests_file import sample_requests, write_requests
from model.run import Run, RunError, TrainingSettings
from model.train import Trained, item_table, predict, restore, test_result, train

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

app.command("compare-encoders")(compare_encoders)


@app.command("train")
def train_command(
    data: Annotated[str, typer.Option(help=f"`{SYNTHETIC}`, a MovieLens 100K folder or a file of sequences")],
    surface: Annotated[str, typer.Option(help="feed or ads")],
    run: RunFolder,
    encoder: Annotated[str, typer.Option(help=f"{', '.join(get_args(Encoder))}")] = "transformer",
    items_from: Annotated[
        Path | None, typer.Option(help="take over this run's item table, so both surfaces share one history")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="throw away what the folder holds")] = False,
    seed: Annotated[int, typer.Option(help="of weights and batches")] = 0,
    data_seed: Annotated[int, typer.Option(help="of made-up data, negatives and bids")] = 0,
    epochs: Annotated[int | None, typer.Option()] = None,
    batch_size: Annotated[int | None, typer.Option(help="impressions a step")] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    weight_decay: Annotated[float | None, typer.Option(help="of the ranker's matrices")] = None,
    item_decay: Annotated[float | None, typer.Option(help="of the item embeddings")] = None,
    cooccurrence: Annotated[
        float | None, typer.Option(min=0.0, help="size of the item embeddings' fixed part: who met what in training")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="epochs without a better validation")] = None,
    dropout: Annotated[float | None, typer.Option()] = None,
    embedding_dim: Annotated[int | None, typer.Option()] = None,
    layers: Annotated[int | None, typer.Option()] = None,
    heads: Annotated[int | None, typer.Option()] = None,
    ffn_dim: Annotated[int | None, typer.Option()] = None,
    max_history: Annotated[int | None, typer.Option(help="longest window, in actions")] = None,
    slack: Annotated[int | None, typer.Option(help="the window's start moves in such steps")] = None,
    stochastic_length: Annotated[float | None, typer.Option(help="1 < α ≤ 2: less is faster, 2 reads all")] = None,
    threads: Threads = 1,
) -> None:
    """Train a ranker, or go on with a run that was interrupted. What is not given comes from the data set's recipe."""
    torch.set_num_threads(threads)
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "item_decay": item_decay,
        "cooccurrence": cooccurrence,
        "patience": patience,
        "dropout": dropout,
        "embedding_dim": embedding_dim,
        "layers": layers,
        "heads": heads,
        "ffn_dim": ffn_dim,
        "max_history": max_history,
        "slack": slack,
        "stochastic_length": stochastic_length,
    }
    with one_line_errors():
        data = data if data == SYNTHETIC else str(Path(data).resolve())
        dataset = read_dataset(data, surface_option(surface), data_seed)
        settings = TrainingSettings(
            data=data,
            surface=dataset.surface,
            data_seed=data_seed,
            seed=seed,
            encoder=encoder_option(encoder),
            items_from=str(items_from.resolve()) if items_from else "",
            **{
                **recipe(dataset.name, encoder_option(encoder)),
                **{name: value for name, value in given.items() if value is not None},
            },
        )
        items = _items_of(items_from, dataset) if items_from else None
        folder = Run(run)
        with folder.locked():
            folder.open(settings, fresh=fresh)
            if folder.checkpoint() is not None:
                console.print(f"going on with {run} after its last finished epoch")
            with ProgressReporter(console) as reporter:
                trained = train(dataset, settings, folder, items=items, reporter=reporter)
        popularity = {task: values._asdict() for task, values in popularity_quality(dataset).items()}
        console.print(training_table(f"{dataset.name}, {surface}, test split", trained.result, popularity))
        if dataset.surface == "ads":
            console.print(calibration_table(trained.result))
        console.print(
            f"{run}: {trained.result['epochs']} epochs in {trained.result['seconds']:.1f} s, "
            f"best is {trained.result['best_epoch']}"
        )


@app.command("evaluate")
def evaluate_command(
    run: RunFolder,
    seeds: Annotated[int, typer.Option(min=1, help="two or more give paired 95 % intervals")] = 1,
    baselines: Annotated[str, typer.Option(help="comma-separated")] = ",".join(BASELINES),
    threads: Threads = 1,
) -> None:
    """Compare a run with popularity and the other fusions, trained alike. Goes on where it was interrupted."""
    torch.set_num_threads(threads)
    with one_line_errors():
        chosen = [name.strip() for name in baselines.split(",") if name.strip()]
        if not chosen or not set(chosen) <= set(BASELINES):
            raise RunError(f"--baselines must be some of {', '.join(BASELINES)}; got {baselines!r}")
        folder = Run(run)
        dataset = dataset_of(folder.settings())
        with folder.locked(), ProgressReporter(console) as reporter:
            evaluation = evaluate(
                dataset, folder, baselines=cast(list[Baseline], chosen), seeds=seeds, reporter=reporter.named
            )
        console.print(evaluation_table(evaluation))
        if seeds > 1:
            console.print(gains_table(evaluation))
        target = run / "evaluation.json"
        target.write_text(json.dumps(evaluation.to_dict(), indent=2))
        console.print(f"written to {target}")


@app.command("export")
def export_command(
    run: RunFolder,
    repository: Annotated[Path, typer.Option(help="the model repository; the next free version is written")],
    precision: Annotated[
        str, typer.Option(help="fp32, or bf16: faster on processors with AMX, slower on others")
    ] = "fp32",
    histories: Annotated[Path | None, typer.Option(help="write members' logs: .jsonl or .parquet")] = None,
    requests: Annotated[Path | None, typer.Option(help="write sample rank requests as JSON Lines")] = None,
    sample: Annotated[int, typer.Option(min=1, help="how many sample requests")] = 8,
    candidates: Annotated[int, typer.Option(min=1, help="candidates of a sample request")] = 128,
) -> None:
    """Write the run's ranker as a bundle that the service loads, checked in a fresh process."""
    with one_line_errors():
        served_at = precision_option(precision)
        folder = Run(run)
        settings = folder.settings()
        dataset = dataset_of(settings)
        trained = restore(dataset, settings, folder)
        directory = repository / settings.surface / _next_version(repository, settings.surface)
        train_split = dataset.splits["train"]
        ranker = trained.learner.ranker
        assert isinstance(ranker, Ranker), "only append_cross runs have the command line's surface"
        result = _result_at(dataset, settings, trained, served_at)
        with console.status(f"exporting {directory} and checking it in a fresh process"):
            manifest = export_bundle(
                directory,
                ranker,
                trained.config,
                item_table(dataset, trained.learner),
                surface=settings.surface,
                tasks=[
                    Task(name=name, calibration=calibration)
                    for name, calibration in zip(dataset.tasks, trained.calibrations, strict=True)
                ],
                actions=dataset.actions,
                features=_described(dataset.feature_names, train_split.features.mean(axis=0)),
                context=_described(dataset.context_names, train_split.context.mean(axis=0)),
                precision=served_at,
                training=_figures(dataset, settings, result),
            )
        console.print(f"bundle {directory} (embedding version {manifest.embedding_version})")
        if served_at != "fp32":
            for task, before in trained.result["tasks"].items():
                console.print(f"{task}: test AUC {result['tasks'][task]['auc']:.5f}, {before['auc']:.5f} in fp32")
        if histories is not None:
            written = write_histories(histories, dataset)
            console.print(f"histories of {written} members in {histories}")
        if requests is not None:
            made = sample_requests(dataset, sample, candidates, settings.seed)
            write_requests(requests, made)
            console.print(f"{len(made)} sample requests in {requests}")


def _result_at(dataset: Dataset, settings: TrainingSettings, trained: Trained, precision: Precision) -> dict[str, Any]:
    """Training's result, with the test split's quality as the exported ranker has it."""
    if precision == "fp32":
        return trained.result
    learner = copy.deepcopy(trained.learner)
    learner.ranker = at_precision(cast(Ranker, learner.ranker), precision)
    logits = predict(learner, dataset, dataset.splits["test"], settings)
    return {**trained.result, **test_result(dataset, logits, trained.calibrations)}


def _items_of(folder: Path, dataset: Dataset) -> Any:
    """The item table of another run over the same items."""
    source = Run(folder)
    settings = source.settings()
    other = dataset_of(settings)
    if other.item_ids != dataset.item_ids:
        raise RunError(f"{folder} was trained on another data set: its items differ")
    return item_table(other, restore(other, settings, source).learner)


def _next_version(repository: Path, name: str) -> str:
    found = versions(repository, name)
    return str(int(found[-1]) + 1) if found else "1"


def _described(names: tuple[str, ...], means: Any) -> list[Feature]:
    """What a request leaves out counts as the training mean."""
    return [Feature(name=name, default=float(mean)) for name, mean in zip(names, means, strict=True)]


def _figures(dataset: Dataset, settings: TrainingSettings, result: dict[str, Any]) -> dict[str, float | int | str]:
    """The offline figures that travel in the manifest, for people."""
    figures: dict[str, float | int | str] = {
        "data": dataset.name,
        "seed": settings.seed,
        "epochs": result["epochs"],
        "seconds": result["seconds"],
    }
    for task, popular in popularity_quality(dataset).items():
        ours = result["tasks"][task]
        before = result["uncalibrated"][task]
        named = {
            "auc": ours["auc"],
            "ne": ours["ne"],
            "ndcg_at_10": ours["ndcg"],
            "calibration_error": ours["calibration_error"],
            "calibration_error_before": before["calibration_error"],
            "popularity_auc": popular.auc,
        }
        figures |= {f"{task}_{name}": round(value, 6) for name, value in named.items() if value is not None}
    return figures
