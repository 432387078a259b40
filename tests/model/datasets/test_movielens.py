"""MovieLens: pages, labels, and errors that name file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.datasets.base import SPLITS, DatasetError
from model.datasets.movielens import PAGE_MS, load_movielens, read_films


def test_a_page_holds_the_ratings_of_a_minute(movielens_folder: Path) -> None:
    """A page's ratings lie within 60 s of its first, and the member's next page starts later than that."""
    dataset = load_movielens(movielens_folder, "feed", 0)
    log = dataset.log
    for split in SPLITS:
        part = dataset.splits[split]
        first = log.offsets[part.member] + part.history_end
        sizes = np.diff(part.candidate_offsets)
        last = first + sizes - 1
        more = first + sizes < log.offsets[part.member + 1]

        assert np.array_equal(log.times[first], part.request_time)
        assert (log.times[last] - part.request_time <= PAGE_MS).all()
        assert (log.times[(first + sizes)[more]] - part.request_time[more] > PAGE_MS).all()


def test_labels_follow_the_ratings(movielens_folder: Path) -> None:
    """like = 4 or 5 stars, love = 5 stars, click (the ads stand-in) = like."""
    feed, ads = (load_movielens(movielens_folder, surface, 0) for surface in ("feed", "ads"))
    for split in SPLITS:
        part = feed.splits[split]
        first = feed.log.offsets[part.member] + part.history_end
        stars = [
            feed.log.actions[begin : begin + size] + 1
            for begin, size in zip(first, np.diff(part.candidate_offsets), strict=True)
        ]

        assert np.array_equal(part.labels[:, 0], np.concatenate(stars) >= 4)
        assert np.array_equal(part.labels[:, 1], np.concatenate(stars) == 5)
        assert np.array_equal(ads.splits[split].labels[:, 0], part.labels[:, 0])


def test_bids_depend_on_the_seed_alone(movielens_folder: Path) -> None:
    """Loading is deterministic; the seed draws the bids and nothing else."""
    first, again, other = (load_movielens(movielens_folder, "ads", seed) for seed in (0, 0, 1))

    assert first.item_bids is not None
    assert np.array_equal(first.item_bids, again.item_bids)
    assert not np.array_equal(first.item_bids, other.item_bids)
    assert np.array_equal(first.log.times, other.log.times)
    assert np.array_equal(first.splits["test"].features, again.splits["test"].features)


def test_the_list_of_films_reads_with_and_without_header(movielens_folder: Path) -> None:
    """The publisher's u.item has no header line, u.item.orig has one; a missing date is NaN."""
    plain = read_films(movielens_folder / "u.item")
    text = (movielens_folder / "u.item").read_text(encoding="latin-1")
    (movielens_folder / "u.item.orig").write_text("item|title|releaseDate\n" + text, encoding="latin-1")
    headed = read_films(movielens_folder / "u.item.orig")

    assert plain.ids == headed.ids
    assert len(plain.ids) == 50
    assert np.flatnonzero(np.isnan(plain.years)).tolist() == [6]
    assert plain.years[0] == 1981


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1\t2\t3", "expected 4 fields"),
        ("1\t999\t3\t880000000", "film '999' is not in the list"),
        ("1\t2\t6\t880000000", "rating must be 1..5"),
        ("1\t2\t3\tyesterday", "whole seconds"),
    ],
)
def test_a_bad_rating_is_named_by_file_and_line(movielens_folder: Path, line: str, reason: str) -> None:
    """The error says where to look and what was expected."""
    path = movielens_folder / "u.data"
    path.write_text(path.read_text() + line + "\n")

    with pytest.raises(DatasetError, match=reason) as caught:
        load_movielens(movielens_folder, "feed", 0)
    assert caught.value.path == path
    assert caught.value.line == 241
    assert "u.data:241: " in str(caught.value)


def test_a_folder_without_films_is_refused(movielens_folder: Path) -> None:
    """A missing file is named."""
    (movielens_folder / "u.item").unlink()

    with pytest.raises(DatasetError, match=r"u\.item: is missing"):
        load_movielens(movielens_folder, "feed", 0)


def test_a_bad_film_is_named_by_file_and_line(movielens_folder: Path) -> None:
    """The error says which line of the list is wrong."""
    (movielens_folder / "u.item").write_text("1|Film|01-Jan-1990|\nnonsense\n")

    with pytest.raises(DatasetError, match=r"u\.item:2: expected"):
        load_movielens(movielens_folder, "feed", 0)


def test_the_real_set_has_the_published_size(real_data: Callable[[str], Path]) -> None:
    """MovieLens 100K: 100,000 ratings of 943 members and 1,682 films, 3.9 to a page."""
    dataset = load_movielens(real_data("ml-100k"), "feed", 0)
    candidates = sum(len(dataset.splits[split].candidate_items) for split in SPLITS)
    pages = sum(len(dataset.splits[split]) for split in SPLITS)

    assert candidates == len(dataset.log.items) == 100_000
    assert len(dataset.member_ids) == 943
    assert len(dataset.item_ids) == 1_683
    assert 3.8 < candidates / pages < 4.0
