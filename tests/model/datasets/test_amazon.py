"""Purchase sequences: leave-one-out, honest negatives, and errors that name file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.datasets.amazon import NEGATIVES, load_amazon
from model.datasets.base import SPLITS, DatasetError


def test_the_last_item_is_the_test_and_the_one_before_the_validation(sequence_file: Path) -> None:
    """Leave-one-out; a member of two purchases has nothing to hold out."""
    dataset = load_amazon(sequence_file, "feed", 0)
    lengths = np.diff(dataset.log.offsets)
    for split, left in (("validation", 2), ("test", 1)):
        part = dataset.splits[split]
        bought = part.candidate_items[part.candidate_offsets[:-1]]

        assert np.array_equal(part.history_end, lengths[part.member] - left)
        assert np.array_equal(bought, dataset.log.items[dataset.log.offsets[part.member] + part.history_end])
        assert dataset.member_ids.index("short") not in part.member


def test_negatives_are_distinct_items_that_the_member_never_bought(sequence_file: Path) -> None:
    """A negative is never a later purchase in disguise."""
    dataset = load_amazon(sequence_file, "feed", 0)
    for split in SPLITS:
        part = dataset.splits[split]
        rows = part.candidate_items.reshape(-1, 1 + NEGATIVES)
        for member, row in zip(part.member, rows, strict=True):
            own = dataset.log.items[dataset.log.offsets[member] : dataset.log.offsets[member + 1]]
            assert len(set(row.tolist())) == 1 + NEGATIVES
            assert not set(row[1:].tolist()) & set(own.tolist())


def test_negatives_depend_on_the_seed_alone(sequence_file: Path) -> None:
    """The same seed draws the same negatives."""
    first, again, other = (load_amazon(sequence_file, "feed", seed).splits["test"] for seed in (0, 0, 1))

    assert np.array_equal(first.candidate_items, again.candidate_items)
    assert not np.array_equal(first.candidate_items, other.candidate_items)


def test_the_position_stands_for_the_time(sequence_file: Path) -> None:
    """A request's time is the number of purchases before it."""
    dataset = load_amazon(sequence_file, "feed", 0)

    for split in SPLITS:
        assert np.array_equal(dataset.splits[split].request_time, dataset.splits[split].history_end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3 4\n2\n", r"Bad\.txt:2: expected a member id"),
        ("1 2 3 4\n1 5 6 7\n", r"Bad\.txt:2: member '1' has a line already"),
        ("1 2\n2 3\n", r"Bad\.txt: no member has the three items"),
        ("1 2 3 4\n", r"Bad\.txt: too few items"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """The error says where to look and what was expected."""
    path = tmp_path / "Bad.txt"
    path.write_text(text)

    with pytest.raises(DatasetError, match=message):
        load_amazon(path, "feed", 0)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A file of another kind is not read as sequences."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\xff\xfe")

    with pytest.raises(DatasetError, match="is not a text file"):
        load_amazon(path, "feed", 0)


def test_there_is_no_ads_surface(sequence_file: Path) -> None:
    """Purchases hold no price of a click, and none is made up."""
    with pytest.raises(DatasetError, match="no ads surface"):
        load_amazon(sequence_file, "ads", 0)


def test_the_real_beauty_set_has_the_published_size(real_data: Callable[[str], Path]) -> None:
    """Amazon Beauty, 5-core: 22,363 members, 12,101 items, 198,502 purchases."""
    dataset = load_amazon(real_data("amazon_sequences") / "Beauty.txt", "feed", 0)

    assert len(dataset.member_ids) == len(dataset.splits["test"]) == 22_363
    assert len(dataset.item_ids) == 12_102
    assert len(dataset.log.items) == 198_502
