"""A run: the folder that one training owns, with its settings, its checkpoint and its result.

    settings.json    what was asked for; a folder holds one run, other settings are refused
    checkpoint.pt    everything needed to go on after the last finished epoch
    result.json      quality on the test split, once training is done

Files are replaced in one step, so an interrupted run leaves whole ones; who writes holds a lock on the folder itself.
It does not know data or how training works.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from model.bundle import Surface
from model.config import Encoder, Fusion, RankerConfig
from model.datasets.base import Dataset

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Settings = TypeVar("Settings", bound=DataclassInstance)

SETTINGS_FILE = "settings.json"
CHECKPOINT_FILE = "checkpoint.pt"
RESULT_FILE = "result.json"


class RunError(Exception):
    """A run folder that cannot be used as asked. The message says which and what to do."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides a run's weights. Counts, but for rates, shares (0..1) and seeds.

    data: `synthetic` or an absolute path · items_from: the run whose item table is taken over and frozen, or "" ·
    drop_items, drop_history: share of ids replaced by the unknown item, share of histories emptied, in training ·
    embedding_std: spread of the item embeddings before training · cooccurrence: size (root mean square) of the fixed
    part of an item's embedding that tells who met the item, 0 for none · item_decay: weight decay of the learned part ·
    stochastic_length: α, below 2 most histories longer than max_history^(α/2) are trained on in part
    """

    data: str
    surface: Surface
    data_seed: int = 0
    seed: int = 0
    items_from: str = ""
    fusion: Fusion = "append_cross"
    encoder: Encoder = "transformer"
    embedding_dim: int = 32
    layers: int = 2
    heads: int = 2
    ffn_dim: int = 128
    max_history: int = 64
    slack: int = 16
    cross_layers: int = 2
    head_dim: int = 64
    dropout: float = 0.1
    drop_items: float = 0.02
    drop_history: float = 0.03
    embedding_std: float = 0.1
    cooccurrence: float = 0.0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    item_decay: float = 0.0
    batch_size: int = 64
    stochastic_length: float = 2.0
    epochs: int = 5
    patience: int = 2

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("drop_items", "drop_history"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.learning_rate <= 0.0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 1.0 < self.stochastic_length <= 2.0:
            raise ValueError(f"stochastic_length must be above 1 and at most 2, got {self.stochastic_length}")

    def config(self, dataset: Dataset) -> RankerConfig:
        """The ranker's sizes on this data set."""
        return RankerConfig(
            actions=len(dataset.actions),
            tasks=len(dataset.tasks),
            features=len(dataset.feature_names),
            context=len(dataset.context_names),
            fusion=self.fusion,
            encoder=self.encoder,
            embedding_dim=self.embedding_dim,
            layers=self.layers,
            heads=self.heads,
            ffn_dim=self.ffn_dim,
            max_history=self.max_history,
            slack=self.slack,
            cross_layers=self.cross_layers,
            head_dim=self.head_dim,
            dropout=self.dropout,
        )


@dataclass(frozen=True)
class Run:
    """The folder at `path`."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder while writing to it; the kernel lets go of it however the process ends.

        Raises RunError when another process holds it. Reading needs no lock.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"{self.path} is in use by another train or evaluate; wait for it or choose another --run folder"
                ) from None
            yield
        finally:
            os.close(folder)

    def open(self, settings: DataclassInstance, *, fresh: bool = False) -> None:
        """Take the folder for `settings`: a new run, or the same one to be continued. `fresh` throws the old away.

        Raises RunError when the folder holds a run of other settings.
        """
        if fresh:
            for name in (SETTINGS_FILE, CHECKPOINT_FILE, RESULT_FILE):
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.evaluations, ignore_errors=True)
        if (self.path / SETTINGS_FILE).exists():
            before = self.settings_as(type(settings))
            changed = [
                f"{field.name} was {getattr(before, field.name)!r}, now {getattr(settings, field.name)!r}"
                for field in fields(settings)
                if getattr(before, field.name) != getattr(settings, field.name)
            ]
            if changed:
                raise RunError(
                    f"{self.path} holds a run of other settings ({'; '.join(changed)}). "
                    "Choose another --run folder, or start over with --fresh."
                )
            return
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / SETTINGS_FILE, json.dumps(asdict(settings), indent=2).encode())

    def settings(self) -> TrainingSettings:
        """What the run was asked for. Raises RunError where there is no run."""
        return self.settings_as(TrainingSettings)

    def settings_as(self, kind: type[Settings]) -> Settings:
        """What a run of another kind was asked for. Raises RunError where there is no run, or one of no such kind."""
        values = self._json(SETTINGS_FILE, "there is no run; train one first")
        try:
            return kind(**values)
        except TypeError as error:
            raise RunError(f"{self.path} holds a run of another kind; choose another --run folder") from error

    def result(self) -> dict[str, Any] | None:
        """What training wrote when it was done, else None."""
        return self._json(RESULT_FILE, "") if (self.path / RESULT_FILE).exists() else None

    def save_result(self, result: dict[str, Any]) -> None:
        _write(self.path / RESULT_FILE, json.dumps(result, indent=2).encode())

    def checkpoint(self) -> dict[str, Any] | None:
        """The last finished epoch's state, or None before the first. Nothing is unpickled but tensors and numbers."""
        path = self.path / CHECKPOINT_FILE
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(f"{path} is damaged ({type(error).__name__}); start over with --fresh") from error
        return state

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint in one step."""
        path = self.path / CHECKPOINT_FILE
        writing = path.with_suffix(f".writing-{os.getpid()}")
        torch.save(state, writing)
        writing.replace(path)

    @property
    def evaluations(self) -> Path:
        """Where `evaluate` keeps the runs it compares with."""
        return self.path / "evaluations"

    def _json(self, name: str, missing: str) -> dict[str, Any]:
        path = self.path / name
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise RunError(f"{self.path}: {missing}") from None
        except ValueError as error:
            raise RunError(f"{path} is damaged ({error}); start over with --fresh") from error
        return values


def _write(path: Path, content: bytes) -> None:
    writing = path.with_suffix(f".writing-{os.getpid()}")
    writing.write_bytes(content)
    writing.replace(path)
