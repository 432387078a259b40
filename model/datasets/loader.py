"""Which data set a name or a path means. It does not know what is inside any of them."""

from __future__ import annotations

from pathlib import Path

from model.bundle import Surface
from model.datasets.amazon import load_amazon
from model.datasets.base import Dataset, DatasetError
from model.datasets.movielens import RATINGS_FILE, load_movielens
from model.datasets.synthetic import load_synthetic

SYNTHETIC = "synthetic"


def load(name_or_path: str, surface: Surface, seed: int = 0) -> Dataset:
    """`synthetic`, a folder with MovieLens' `u.data`, or a file of purchase sequences. Raises DatasetError."""
    if name_or_path == SYNTHETIC:
        return load_synthetic(surface, seed)
    path = Path(name_or_path)
    if (path / RATINGS_FILE).is_file():
        return load_movielens(path, surface, seed)
    if path.is_file():
        return load_amazon(path, surface, seed)
    if path.is_dir():
        raise DatasetError(path, 0, f"holds no {RATINGS_FILE}; expected a MovieLens 100K folder")
    raise DatasetError(path, 0, f"does not exist; expected `{SYNTHETIC}`, a MovieLens folder or a sequence file")
