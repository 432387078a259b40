"""The picture of a comparison."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from loadtests.plot import Curve, draw_comparison, medians

CURVES = [
    Curve(name, [factor * (1 + i % 40) for i in range(200)], [1 + i % 40 for i in range(200)])
    for name, factor in (("amortized", 0.1), ("non-amortized", 1.0))
]


def test_the_picture_is_an_svg_and_the_same_each_time(tmp_path: Path) -> None:
    """Equal numbers give equal bytes, and the bytes are well-formed."""
    for name in ("a.svg", "b.svg"):
        draw_comparison(CURVES, "title", tmp_path / name)

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_growth_follows_the_sizes() -> None:
    """Groups of requests come in order of size, and their medians are those of their members."""
    middle, low, median, high = medians(CURVES[1])

    assert middle == sorted(middle)
    assert median == pytest.approx(middle, abs=1)
    assert all(a <= b <= c for a, b, c in zip(low, median, high, strict=True))


def test_one_size_is_one_group() -> None:
    """A comparison at a fixed candidate count has a single point."""
    assert medians(Curve("fixed", [1.0, 2.0, 3.0], [5, 5, 5])) == ([5.0], [1.5], [2.0], [2.5])
