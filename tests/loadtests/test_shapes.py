"""History lengths and candidate counts: replayed and fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtests import shapes
from loadtests.shapes import draw_shapes, find_data, read_impressions


def test_the_fit_resembles_the_sample(mind_folder: Path) -> None:
    """Both fitted distributions stay within 0.04 of the sample's, everywhere (Kolmogorov-Smirnov)."""
    real = read_impressions(mind_folder / shapes.BEHAVIORS)
    drawn = draw_shapes(50_000, 50_000, np.random.default_rng(0), None)

    for sample, fitted in zip(real, (drawn.history, drawn.candidates), strict=True):
        grid = np.arange(sample.max() + 1)
        distance = np.abs(
            np.searchsorted(np.sort(sample), grid, "right") / len(sample)
            - np.searchsorted(np.sort(fitted), grid, "right") / len(fitted)
        )
        assert distance.max() < 0.04


def test_the_sample_is_what_its_description_says(mind_folder: Path) -> None:
    """5,000 impressions with 189,359 candidates, at most 283 in one."""
    history, candidates = read_impressions(mind_folder / shapes.BEHAVIORS)

    assert (len(history), candidates.sum(), candidates.max()) == (5000, 189_359, 283)


def test_replaying_uses_every_impression_before_repeating_one(made_up_folder: Path) -> None:
    """Each three draws in a row are the three impressions, in some order."""
    drawn = draw_shapes(9, 6, np.random.default_rng(1), made_up_folder)

    assert drawn.source == "replayed"
    assert [sorted(three) for three in drawn.history.reshape(-1, 3).tolist()] == [[0, 2, 5]] * 3
    assert [sorted(three) for three in drawn.candidates.reshape(-1, 3).tolist()] == [[1, 3, 4]] * 2


def test_fitted_counts_stay_in_the_samples_range() -> None:
    """No request without candidates, none beyond the sample's largest, and some members without a history."""
    drawn = draw_shapes(20_000, 20_000, np.random.default_rng(2), None)

    assert drawn.source == "fitted"
    assert drawn.candidates.min() >= shapes.CANDIDATES_FEWEST
    assert drawn.candidates.max() <= shapes.CANDIDATES_MOST
    assert drawn.history.min() == 0
    assert drawn.history.max() <= shapes.HISTORY_LONGEST
    assert np.mean(drawn.history == 0) == pytest.approx(shapes.NO_HISTORY, abs=0.005)


def test_data_is_found_where_it_is_named(made_up_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder given wins; RANKONCE_DATA is used if it has the sample; a given folder without it is an error."""
    elsewhere = made_up_folder / "elsewhere"
    monkeypatch.delenv("RANKONCE_DATA", raising=False)
    assert find_data(None) is None
    assert find_data(made_up_folder) == made_up_folder
    monkeypatch.setenv("RANKONCE_DATA", str(elsewhere))
    assert find_data(None) is None
    monkeypatch.setenv("RANKONCE_DATA", str(made_up_folder))
    assert find_data(None) == made_up_folder
    with pytest.raises(FileNotFoundError, match="behaviors"):
        find_data(elsewhere)
