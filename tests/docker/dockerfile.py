"""The Dockerfile, read: its stages and their instructions. Enough of the language for the one file here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from tests.docker.files import DOCKER


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows. steps: (instruction, arguments), in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [arguments for name, arguments in self.steps if name == instruction]

    def command(self, instruction: str) -> list[str]:
        """The words of its only ENTRYPOINT, CMD or HEALTHCHECK, in the form that needs no shell."""
        (arguments,) = self.all(instruction)
        return json.loads(arguments[arguments.index("[") :])  # type: ignore[no-any-return]


def stages() -> dict[str, Stage]:
    text = re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text())
    found: dict[str, Stage] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, arguments = line.split(None, 1)
        if instruction == "FROM":
            base, name = arguments.split(" AS ")
            stage = found[name] = Stage(name, base)
        else:
            stage.steps.append((instruction, arguments))
    return found


def environment(stage: Stage) -> dict[str, str]:
    """ENV of a stage and of those it is made from."""
    base = stages().get(stage.base)
    inherited = environment(base) if base else {}
    pairs = [pair for line in stage.all("ENV") for pair in re.findall(r"(\w+)=(\S+)", line)]
    return inherited | dict(pairs)
