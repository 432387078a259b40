"""Small files in the real data sets' formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def movielens_folder(tmp_path: Path) -> Path:
    """A made-up MovieLens folder: 6 members, 40 ratings each within seconds or hours of each other."""
    rng = np.random.default_rng(0)
    films = [f"{film}|Film {film} (1990)|01-Jan-{1980 + film}||http://x|0|1" for film in range(1, 51)]
    films[6] = "7|Ä film without a date|||http://x|0|1"
    (tmp_path / "u.item").write_text("\n".join(films) + "\n", encoding="latin-1")
    lines = []
    for member in range(1, 7):
        second = 880_000_000 + int(rng.integers(0, 10_000))
        for film in rng.permutation(np.arange(1, 51))[:40]:
            second += int(rng.choice([0, 0, 5, 40, 7200]))
            lines.append(f"{member}\t{film}\t{rng.integers(1, 6)}\t{second}")
    (tmp_path / "u.data").write_text("\n".join(rng.permutation(lines)) + "\n")
    return tmp_path


@pytest.fixture
def sequence_file(tmp_path: Path) -> Path:
    """A made-up sequence file: 30 members, 3 to 9 of 60 items each, and one member of two."""
    rng = np.random.default_rng(1)
    lines = [
        " ".join(map(str, [member, *rng.permutation(np.arange(1, 61))[: rng.integers(3, 10)]])) for member in range(30)
    ]
    path = tmp_path / "Toys.txt"
    path.write_text("\n".join([*lines, "short 5 6"]) + "\n")
    return path
