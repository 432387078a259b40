"""Sequences from files: Amazon sequences, MovieLens 1M as published, and its earliest 80 % as events.

It does not know how sequences are cut or learned from.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from model.datasets.amazon import read_sequences
from model.datasets.base import DatasetError, offsets_of
from model.sequential.sequences import Sequences

RATINGS_FILE = "ratings.dat"
EVENTS_FILE = "events.csv.gz"
MOVIES_FILE = "movies.dat"
_EVENTS_HEADER = ["user_id", "movie_id", "t_norm", "ts_est"]


def load_sequences(path: Path) -> Sequences:
    """A file of purchase sequences, or a MovieLens 1M folder: `ratings.dat` or `events.csv.gz` beside `movies.dat`.

    Raises DatasetError naming file and line.
    """
    if (path / RATINGS_FILE).is_file():
        return _movielens("ml-1m", path, _ratings(path / RATINGS_FILE), path / RATINGS_FILE)
    if (path / EVENTS_FILE).is_file():
        return _movielens("ml1m-events", path, _events(path / EVENTS_FILE), path / EVENTS_FILE)
    if path.is_file():
        return _amazon(path)
    raise DatasetError(path, 0, f"is neither a file of sequences nor a folder with {RATINGS_FILE} or {EVENTS_FILE}")


def _amazon(path: Path) -> Sequences:
    """The SASRec/TIGER files know an order and no times: all times are zero."""
    _, item_ids, sequences = read_sequences(path)
    items = np.concatenate([np.array(sequence, dtype=np.int64) for sequence in sequences])
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    return Sequences(f"amazon-{path.stem.lower()}", item_ids, offsets_of(lengths), items, np.zeros_like(items))


def _movielens(name: str, folder: Path, actions: Iterable[tuple[int, str, str, int]], path: Path) -> Sequences:
    """Actions (line, member, film, second) → sequences by time; those of one instant keep the file's order.

    Every rating counts as an action, whatever its value, and the catalogue is all of `movies.dat`, as published.
    """
    item_ids = ("", *_films(folder / MOVIES_FILE))
    row_of = {film: row for row, film in enumerate(item_ids)}
    member_of: dict[str, int] = {}
    member: list[int] = []
    items: list[int] = []
    seconds: list[int] = []
    for line, user, film, second in actions:
        if film not in row_of:
            raise DatasetError(path, line, f"film {film!r} is not in {MOVIES_FILE}")
        member.append(member_of.setdefault(user, len(member_of)))
        items.append(row_of[film])
        seconds.append(second)
    if not items:
        raise DatasetError(path, 0, "holds no action")
    owner, times = np.array(member, dtype=np.int64), np.array(seconds, dtype=np.int64) * 1000
    order = np.lexsort((times, owner))  # stable
    return Sequences(
        name, item_ids, offsets_of(np.bincount(owner)), np.array(items, dtype=np.int64)[order], times[order]
    )


def _films(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except FileNotFoundError:
        raise DatasetError(path, 0, "does not exist; it names the films of the catalogue") from None
    films: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        film, separator, _ = line.partition("::")
        if not separator or not film:
            raise DatasetError(path, number, "expected MovieID::Title::Genres")
        if film in films:
            raise DatasetError(path, number, f"film {film!r} has a line already")
        films[film] = None
    return list(films)


def _ratings(path: Path) -> Iterable[tuple[int, str, str, int]]:
    with path.open(encoding="latin-1") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\n").split("::")
            if len(fields) != 4 or not fields[3].isdecimal():
                raise DatasetError(path, number, "expected UserID::MovieID::Rating::Timestamp")
            yield number, fields[0], fields[1], int(fields[3])


def _events(path: Path) -> Iterable[tuple[int, str, str, int]]:
    """Times are estimates in bins of about 18 minutes (`ts_est`)."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
            lines = csv.reader(text)
            if next(lines, None) != _EVENTS_HEADER:
                raise DatasetError(path, 1, f"expected the header {','.join(_EVENTS_HEADER)}")
            for number, fields in enumerate(lines, start=2):
                if len(fields) != 4 or not fields[3].isdecimal():
                    raise DatasetError(path, number, "expected a user, a film, a share of time and a second")
                yield number, fields[0], fields[1], int(fields[3])
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, zlib.error):
        raise DatasetError(path, 0, "is damaged or not gzip") from None
