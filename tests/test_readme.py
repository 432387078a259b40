"""The README tells the truth: its commands exist, its requests are answered as it shows."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loadtests.demos import QuickDemo, served

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
COMMANDS = [command for block in BLOCKS for command in re.findall(r"^\$ (.*(?:\n(?!\$).+)*)", block, re.MULTILINE)]


def test_it_can_be_read_in_a_sitting() -> None:
    """At most two hundred lines."""
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)|^\$ make ([a-z-]+)", README, re.MULTILINE))))
def test_every_make_target_exists(target: tuple[str, str]) -> None:
    """Each `make …` of the README is a target."""
    name = target[0] or target[1]

    assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [command for command in COMMANDS if "python -m" in command])
def test_every_command_line_is_understood(command: str) -> None:
    """Each `python -m …` names a command that exists, and only options that it has."""
    words = shlex.split(command)
    words = words[words.index("python") :]
    help_text = subprocess.run(
        [sys.executable, *words[1:4], "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "200"}
    ).stdout

    assert [word for word in words if word.startswith("--") and word not in help_text] == []


def test_every_file_it_names_exists() -> None:
    """Each path in the README's tables and prose is there."""
    named = set(re.findall(r"`((?:model|service|loadtests|docker|tests)/[\w./]*)`", README))

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.fixture(scope="module")
def url(quick_demo: QuickDemo) -> Iterator[str]:
    with served(quick_demo) as demo:
        yield demo.url


@pytest.mark.slow
def test_its_requests_are_answered_as_it_shows(url: str) -> None:
    """The curl commands work as they stand, and the answer has the shape of the one that is printed."""
    curls = [command for command in COMMANDS if command.startswith("curl")]
    answers = [
        json.loads(subprocess.run(["bash", "-c", curl.replace("localhost:8000", url.removeprefix("http://"))],
                                  capture_output=True, text=True, check=True).stdout)
        for curl in curls
    ]  # fmt: skip
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]

    assert len(answers) == len(shown) == 2
    for answer, example in zip(answers, shown, strict=True):
        assert shape(answer) == shape(example)


def shape(value: object) -> object:
    """A JSON value with every number and string replaced by its type; a list is the kinds of things in it."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(part)) for part in value})
    return "number" if isinstance(value, float | int) and not isinstance(value, bool) else type(value).__name__
