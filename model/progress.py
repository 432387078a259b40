"""How a training tells how it goes on: a Reporter, which is silent or draws a bar. It does not know what is trained."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter(Protocol):
    """Told how training goes on."""

    def step(self, epoch: int, done: int, steps: int, loss: float) -> None: ...

    def epoch(self, epoch: int, train_loss: float, validation_loss: float, best: bool) -> None: ...


class Silent:
    """A Reporter that keeps it to itself."""

    def step(self, epoch: int, done: int, steps: int, loss: float) -> None:
        """Nothing to show."""

    def epoch(self, epoch: int, train_loss: float, validation_loss: float, best: bool) -> None:
        """Nothing to show."""


class ProgressReporter:
    """A Reporter that draws one bar an epoch and leaves one line for it. Use as a context manager."""

    def __init__(self, console: Console, name: str = "") -> None:
        self._console = console
        self._prefix = f"{name}: " if name else ""
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
        )
        self._epoch = 0
        self._bar = self._bars.add_task("", visible=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def named(self, name: str) -> Self:
        """The same bar for another training."""
        self._prefix = f"{name}: "
        self._epoch = 0
        return self

    def step(self, epoch: int, done: int, steps: int, loss: float) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._bars.reset(self._bar, total=steps, visible=True)
        self._bars.update(self._bar, completed=done, description=f"{self._prefix}epoch {epoch} loss {loss:.4f}")

    def epoch(self, epoch: int, train_loss: float, validation_loss: float, best: bool) -> None:
        self._bars.update(self._bar, visible=False)
        mark = "  best so far" if best else ""
        self._console.print(
            f"{self._prefix}epoch {epoch}: loss {train_loss:.4f}, validation {validation_loss:.4f}{mark}",
            highlight=False,
        )
