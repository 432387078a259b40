"""Sequences from files in three formats, and errors that name file and line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.datasets.base import DatasetError
from model.sequential.loader import load_sequences

MOVIES = "".join(f"{film}::Film {film} (1990)::Drama\n" for film in (10, 20, 30, 40))
HEADER = "user_id,movie_id,t_norm,ts_est\n"


def ratings(folder: Path, text: str, movies: str = MOVIES) -> Path:
    """A folder in MovieLens 1M's format."""
    (folder / "movies.dat").write_text(movies, encoding="latin-1")
    (folder / "ratings.dat").write_text(text)
    return folder


def events(folder: Path, text: str) -> Path:
    """A folder of events."""
    (folder / "movies.dat").write_text(MOVIES)
    (folder / "events.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def test_ratings_become_sequences_by_time(tmp_path: Path) -> None:
    """By second, those of one second as in the file, whatever the rating; the catalogue holds unrated films too."""
    sequences = load_sequences(
        ratings(tmp_path, "7::30::1::200\n7::10::5::100\n9::20::3::50\n7::20::2::200\n", MOVIES + "50::Été (1999)::X\n")
    )

    assert sequences.name == "ml-1m"
    assert sequences.item_ids == ("", "10", "20", "30", "40", "50")
    assert sequences.offsets.tolist() == [0, 3, 4]
    assert sequences.items.tolist() == [1, 3, 2, 2]
    assert sequences.times.tolist() == [100_000, 200_000, 200_000, 50_000]


def test_events_become_sequences_by_time(tmp_path: Path) -> None:
    """The same of the events' estimated seconds."""
    sequences = load_sequences(events(tmp_path, HEADER + "1,40,0.5,300\n1,10,0.1,100\n2,10,0.1,100\n"))

    assert sequences.name == "ml1m-events"
    assert sequences.items.tolist() == [1, 4, 1]
    assert sequences.times.tolist() == [100_000, 300_000, 100_000]


def test_purchases_have_an_order_and_no_times(tmp_path: Path) -> None:
    """One member a line."""
    path = tmp_path / "Toys.txt"
    path.write_text("1 5 6 7\n2 6 5 9\n")
    sequences = load_sequences(path)

    assert sequences.name == "amazon-toys"
    assert [sequences.item_ids[row] for row in sequences.items] == ["5", "6", "7", "6", "5", "9"]
    assert not sequences.times.any()


@pytest.mark.parametrize(
    ("text", "movies", "message"),
    [
        ("1::10::5::1\n1,10,5,1\n", MOVIES, r"ratings\.dat:2: expected UserID"),
        ("1::10::5::soon\n", MOVIES, r"ratings\.dat:1: expected UserID"),
        ("1::10::5::1\n1::99::5::1\n", MOVIES, r"ratings\.dat:2: film '99' is not in movies\.dat"),
        ("", MOVIES, r"ratings\.dat: holds no action"),
        ("1::10::5::1\n", "no film here\n", r"movies\.dat:1: expected MovieID"),
        ("1::10::5::1\n", MOVIES + "10::Again::X\n", r"movies\.dat:5: film '10' has a line already"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, movies: str, message: str) -> None:
    """The error says where to look and what was expected."""
    with pytest.raises(DatasetError, match=message):
        load_sequences(ratings(tmp_path, text, movies))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,film\n", r"events\.csv\.gz:1: expected the header user_id,"),
        (HEADER + "1,10,0.5\n", r"events\.csv\.gz:2: expected a user"),
    ],
)
def test_a_bad_event_is_named(tmp_path: Path, text: str, message: str) -> None:
    """Lines are counted in the unpacked text."""
    with pytest.raises(DatasetError, match=message):
        load_sequences(events(tmp_path, text))


def test_what_is_no_gzip_is_refused(tmp_path: Path) -> None:
    """Cut off or of another kind."""
    folder = events(tmp_path, HEADER + "".join(f"{user},10,0.5,{user}\n" for user in range(5000)))
    whole = (folder / "events.csv.gz").read_bytes()
    for damaged in (b"plain text", whole[: len(whole) // 2]):
        (folder / "events.csv.gz").write_bytes(damaged)
        with pytest.raises(DatasetError, match="damaged or not gzip"):
            load_sequences(folder)


def test_a_folder_without_films_or_actions_is_refused(tmp_path: Path) -> None:
    """The error says what was looked for."""
    with pytest.raises(DatasetError, match=r"neither a file of sequences nor a folder with ratings\.dat"):
        load_sequences(tmp_path)
    (tmp_path / "ratings.dat").write_text("1::10::5::1\n")
    with pytest.raises(DatasetError, match=r"movies\.dat: does not exist"):
        load_sequences(tmp_path)


@pytest.mark.parametrize(
    ("name", "members", "items", "actions"),
    [
        ("amazon_sequences/Beauty.txt", 22_363, 12_101, 198_502),
        ("amazon_sequences/Toys_and_Games.txt", 19_412, 11_924, 167_597),
        ("ml1m_events", 5_400, 3_883, 800_231),
    ],
)
def test_the_real_sets_have_their_sizes(
    real_data: Callable[[str], Path], name: str, members: int, items: int, actions: int
) -> None:
    """Nobody has an item twice, so leaving out what was seen never leaves out the right item."""
    sequences = load_sequences(real_data(name))
    owner = np.repeat(np.arange(members), np.diff(sequences.offsets))

    assert (len(sequences.offsets) - 1, len(sequences.item_ids) - 1, len(sequences.items)) == (members, items, actions)
    assert len(np.unique(owner * (items + 1) + sequences.items)) == actions
