"""SECURITY.md: what it says of settings, paths and figures is what is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service import access, connection
from service.bodies import BODIES_AT_A_TIME
from service.keys import SCOPES
from service.settings import Settings

TEXT = (Path(__file__).parent.parent / "SECURITY.md").read_text()


def test_every_setting_that_is_named_exists() -> None:
    """With the default that the table gives."""
    named = set(re.findall(r"RANKER_([A-Z_]+)", TEXT))
    fields = Settings.model_fields

    assert {name.lower() for name in named} <= fields.keys()
    assert f"| `{fields['host'].default}` |" in TEXT
    assert f"| {fields['max_connections'].default} |" in TEXT
    assert f"| {fields['transfer_seconds'].default:g} |" in TEXT
    assert f"| {fields['max_body_bytes'].default >> 20} MiB |" in TEXT


@pytest.mark.parametrize("path", sorted(access.OPEN - {"/docs/oauth2-redirect", "/dashboard/data"}))
def test_every_open_path_is_told(path: str) -> None:
    """Whatever needs no key is in the table of scopes."""
    row = next(line for line in TEXT.splitlines() if line.startswith("| none needed"))

    assert f"`{path}`" in row or (path.startswith("/v2/health") and "`/v2` and its health" in row)


def test_every_scope_is_told_with_its_paths() -> None:
    """The table is the one that is enforced."""
    for scope in SCOPES:
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{scope}` |"))
        assert all(f"`{path}`" in row for path, needed in access.NEEDED.items() if needed == scope)


def test_the_bounds_are_the_ones_that_hold() -> None:
    """Figures in prose go stale unless they are read."""
    told = " ".join(TEXT.split())

    assert f"at most {connection.MAX_HEAD_BYTES >> 10} KiB and {connection.MAX_HEADERS} lines of head" in told
    assert f"{connection.MAX_PIPELINED} pipelined requests" in told
    assert f"{BODIES_AT_A_TIME} times that is held unfinished" in told
