"""What the command lines of `model` and `model.sequential` share: options checked, data sets read, errors in one line.

It does not know any command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console

from model.bundle import BundleError, Surface
from model.config import Encoder
from model.datasets.base import Dataset, DatasetError
from model.datasets.loader import load
from model.precision import Precision
from model.run import RunError, TrainingSettings

console = Console()

RunFolder = Annotated[Path, typer.Option("--run", help="the run's folder")]
# At these widths a second thread saves little, and on a busy machine threads that wait for each other cost a lot.
Threads = Annotated[int, typer.Option(min=1, help="threads of torch; more than one pays for wide rankers only")]


def surface_option(name: str) -> Surface:
    return cast(Surface, one_of(name, Surface, "--surface"))


def encoder_option(name: str) -> Encoder:
    return cast(Encoder, one_of(name, Encoder, "--encoder"))


def precision_option(name: str) -> Precision:
    return cast(Precision, one_of(name, Precision, "--precision"))


def one_of(name: str, names: Any, option: str) -> str:
    """`name`, if it is one of the Literal `names`. Raises RunError."""
    if name not in get_args(names):
        raise RunError(f"{option} must be one of {', '.join(get_args(names))}; got {name!r}")
    return name


def read_dataset(data: str, surface: Surface, data_seed: int) -> Dataset:
    with console.status(f"reading {data}"):
        return load(data, surface, data_seed)


def dataset_of(settings: TrainingSettings) -> Dataset:
    return read_dataset(settings.data, settings.surface, settings.data_seed)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What a user can mend is told in one line, and an interrupted run says how to go on."""
    try:
        yield
    except (DatasetError, RunError, BundleError, ValueError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on after the last finished epoch")
        raise typer.Exit(130) from None
