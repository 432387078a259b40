"""The manifest refuses what contradicts itself; the window is anchored."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.bundle import (
    MANIFEST_FILE,
    BundleError,
    Manifest,
    Task,
    read_manifest,
    window_start,
)


def test_a_manifest_that_is_missing_truncated_or_from_elsewhere_is_refused(bundle: Path) -> None:
    """No manifest, half a manifest and one of another format are all refused before anything is loaded."""
    path = bundle / MANIFEST_FILE
    text = path.read_text()
    for content in (text[: len(text) // 2], text.replace('"format_version": 1', '"format_version": 2')):
        path.write_text(content)
        with pytest.raises(BundleError, match=MANIFEST_FILE):
            read_manifest(bundle)
    path.unlink()
    with pytest.raises(BundleError, match="missing"):
        read_manifest(bundle)


def test_manifest_refuses_contradictions(bundle: Path) -> None:
    """Repeated names, a slack above T_max, and an ads ranker of two tasks are no manifest."""
    fields = read_manifest(bundle).model_dump()
    twice = [Task(name="click").model_dump()] * 2
    for wrong in ({"tasks": twice}, {"slack": 100}, {"surface": "ads"}, {"surprise": 1}, {"version": "v1"}):
        with pytest.raises(ValidationError):
            Manifest.model_validate({**fields, **wrong})


@given(total=st.integers(0, 10**12), max_history=st.integers(1, 5000), share=st.floats(0, 1))
def test_window_is_anchored_and_bounded(total: int, max_history: int, share: float) -> None:
    """The window starts on a multiple of S, holds at most T_max, and only skips what it must."""
    slack = max(1, int(share * max_history))
    start = window_start(total, max_history, slack)

    assert start % slack == 0
    assert total - start <= max_history
    assert start == 0 or total - start > max_history - slack
    assert window_start(total + 1, max_history, slack) in (start, start + slack)
