"""Row 6's benchmark at toy sizes: what it compares and reports, never how fast it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from loadtests import bench_precision
from loadtests.bench_model import Effort
from loadtests.bench_precision import Size, find_movielens, measure, page, row_6, top, trained_subject
from loadtests.bench_shapes import ReferenceShape
from model.run import Run

TINY = ReferenceShape("tiny", history=8, candidates=16, embedding_dim=16)
ONCE = Size(0.5, 3, Effort(1, 1))


@pytest.fixture
def movielens(tmp_path: Path) -> Path:
    """Thirty films, twenty members with ten ratings each."""
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "u.item").write_text("".join(f"{film}|Film|01-Jan-1990||x|0\n" for film in range(1, 31)))
    rng = np.random.default_rng(0)
    lines = [
        f"{member}\t{film}\t{rating}\t{880_000_000 + 50_000 * member + at * 200}"
        for member in range(20)
        for at, (film, rating) in enumerate(zip(rng.permutation(30)[:10] + 1, rng.integers(1, 6, 10), strict=True))
    ]
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    return folder


def test_row_6_needs_time_and_accuracy(movielens: Path, tmp_path: Path) -> None:
    """One verdict on all three, each beside its target, of a ranker that was trained; a kept run is used again."""
    results = {result.row: result for result in row_6(movielens, ONCE, TINY, tmp_path / "run")}

    assert list(results) == ["6 tiny", "6 auc loss", "6 top-10 overlap", "6 logit difference"]
    assert [result.target for result in results.values()] == [0.65, 0.0005, 0.99, None]
    assert results["6 tiny"].value > 0.0
    assert 0.0 < results["6 logit difference"].value < 0.1
    if not (results["6 auc loss"].met and results["6 top-10 overlap"].met):
        assert not results["6 tiny"].met
    kept = Run(tmp_path / "run").checkpoint()
    row_6(movielens, ONCE, TINY, tmp_path / "run")
    assert kept is not None
    assert Run(tmp_path / "run").checkpoint()["epoch"] == kept["epoch"] == 1  # type: ignore[index]


def test_a_page_holds_distinct_films(movielens: Path, tmp_path: Path) -> None:
    """One request of as many films as asked for, none twice, that the ranker reads."""
    subject = trained_subject(movielens, ONCE, TINY, tmp_path / "run")
    inputs = page(subject, 0, 5)

    with torch.inference_mode():
        logits = subject.learner.ranker(*inputs)
    assert logits.shape == (1, 5, 2)
    assert len(torch.unique(inputs[4][0], dim=0)) == 5


def test_the_ten_best_are_by_the_sum_of_probabilities() -> None:
    """Both tasks count: a film that is somewhat good at both may beat one that is good at one."""
    logits = torch.full((1, 12, 2), -5.0)
    logits[0, 3] = torch.tensor([9.0, -9.0])
    logits[0, 7] = torch.tensor([1.0, 1.0])

    assert {3, 7} < top(logits)
    assert len(top(logits)) == bench_precision.TOP
    assert top(logits[:, 3:8]) == {0, 1, 2, 3, 4}


def test_without_data_it_says_what_to_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, movielens: Path) -> None:
    """The folder given wins; RANKONCE_DATA is its parent; without either the error names both ways, and so does the
    row that could not be measured."""
    monkeypatch.setenv("RANKONCE_DATA", str(tmp_path / "nowhere"))
    assert find_movielens(movielens) == movielens
    with pytest.raises(FileNotFoundError, match="--data"):
        find_movielens(None)
    (row,) = measure(ONCE)
    assert (row.row, row.value, row.target, row.met) == ("6 large", None, 0.65, None)
    assert "RANKONCE_DATA" in row.note
    (tmp_path / "data").mkdir()
    movielens.rename(tmp_path / "data" / "ml-100k")
    monkeypatch.setenv("RANKONCE_DATA", str(tmp_path / "data"))
    assert find_movielens(None) == tmp_path / "data" / "ml-100k"
