"""Row: one fault, the promise that goes with it, and how both are tried; Figures: what was measured.

It does not know any fault, or how figures are printed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtests.chaos.stage import Stage


@dataclass
class Figures:
    """Of one row. Counts are of requests; shed: refused in due form (429, 503, 504) · failed: anything else that is no
    right answer · worst_ms: the slowest answer or refusal · recovery_s: from the fault's end to the first moment after
    which every request was answered in full · facts: what else was counted · broken: promises not kept, in words."""

    sent: int = 0
    answered: int = 0
    degraded: int = 0
    shed: int = 0
    failed: int = 0
    worst_ms: float = 0.0
    recovery_s: float | None = None
    facts: dict[str, float | str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not self.broken

    def expect(self, kept: bool, promise: str) -> None:
        """Note a promise that was not kept; say it as what was found, with its figure."""
        if not kept:
            self.broken.append(promise)


@dataclass(frozen=True)
class Row:
    """run: provokes the fault on a stage and measures · settings: of the service, by their variables' names · redis:
    words of the Redis server's command line · models: makes a model repository in a folder, for a row that must not
    take whichever there is · alone: it uses its stage up, so nobody else gets it · slow: takes minutes, so it runs only
    when it is named."""

    name: str
    fault: str
    run: Callable[[Stage], Awaitable[Figures]]
    settings: Mapping[str, str] = field(default_factory=dict)
    redis: tuple[str, ...] = ()
    models: Callable[[Path], Path] | None = None
    alone: bool = False
    slow: bool = False

    @property
    def stage(self) -> tuple[object, ...]:
        """Equal for rows that may share a stage."""
        return (sorted(self.settings.items()), self.redis, self.models, self.name if self.alone else "")
