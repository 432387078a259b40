"""A name or a path finds its data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.datasets.base import DatasetError
from model.datasets.loader import load


def test_each_kind_of_data_is_recognised(movielens_folder: Path, sequence_file: Path) -> None:
    """`synthetic` is a name, a folder with u.data is MovieLens, a file is sequences."""
    assert load("synthetic", "ads").name == "synthetic"
    assert load(str(movielens_folder), "feed").name == "movielens-100k"
    assert load(str(sequence_file), "feed").name == "amazon-toys"


def test_what_is_no_data_set_is_refused_by_name(tmp_path: Path) -> None:
    """The error says what would have been recognised."""
    with pytest.raises(DatasetError, match=r"holds no u\.data"):
        load(str(tmp_path), "feed")
    with pytest.raises(DatasetError, match="does not exist; expected `synthetic`"):
        load(str(tmp_path / "nowhere"), "feed")
