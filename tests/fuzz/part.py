"""Part: what one kind of fuzzing tried and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_TOLD = 20


@dataclass
class Part:
    """cases: how many were tried. failures: one line each, with what is needed to try it again."""

    name: str
    cases: int = 0
    failures: list[str] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)

    def fail(self, what: str) -> None:
        self.failures.append(what)

    def told(self) -> str:
        """The part as lines for people."""
        facts = "".join(f", {name} {value:g}" for name, value in self.facts.items())
        lines = [f"{self.name:<12} {self.cases:>7} cases {len(self.failures):>4} failures{facts}"]
        return "\n    ".join([*lines, *self.failures[:MOST_TOLD]])
