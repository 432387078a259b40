"""MovieLens 100K from the folder that holds its `u.data` and `u.item` (or `u.item.orig`, which has a header line).

Feed: will the member like (rating ≥ 4) or love (rating = 5) the film. Ads: there are no ads in MovieLens, so `click` is
a stand-in (rating ≥ 4) and bids are drawn at random, once for each film. An impression is a page: a member's ratings
within 60 s of its first one. It does not know torch or how the arrays are used.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.bundle import Surface
from model.datasets.asof import AsOf
from model.datasets.base import (
    F32,
    I64,
    ActionLog,
    Dataset,
    DatasetError,
    Impressions,
    action_log,
    offsets_of,
    split_by_time,
)

RATINGS_FILE = "u.data"
ITEM_FILES = ("u.item.orig", "u.item")
PAGE_MS = 60_000
DAY_MS = 86_400_000
ACTIONS = ("rated_1", "rated_2", "rated_3", "rated_4", "rated_5")
FEATURES = ("log_popularity", "like_rate", "love_rate", "release_year")
CONTEXT = ("hour_sin", "hour_cos")
_YEAR = re.compile(r"(\d{4})$")


class Films(NamedTuple):
    """ids: as written in the file · years: [films] float32, NaN where the file gives none."""

    ids: tuple[str, ...]
    years: F32


class _Pages(NamedTuple):
    """member, start_time, first (index into the log): [N] int64 · offsets: [N + 1] into the log."""

    member: I64
    start_time: I64
    offsets: I64


def load_movielens(folder: Path, surface: Surface, seed: int) -> Dataset:
    """Read the folder. `seed` draws the bids, nothing else. Raises DatasetError naming file and line."""
    films = read_films(_items_path(folder))
    member_ids, log = _read_ratings(folder / RATINGS_FILE, films)
    ratings = log.actions + 1
    liked, loved = ratings >= 4, ratings == 5
    tasks = {"feed": {"like": liked, "love": loved}, "ads": {"click": liked}}[surface]
    labels = np.stack(list(tasks.values()), axis=1).astype(np.float32)

    known = AsOf(log.items, log.times, np.stack([liked, loved], axis=1).astype(np.float32))
    years = np.concatenate([[0.0], np.where(np.isnan(films.years), np.nanmedian(films.years), films.years)])

    def features_at(items: I64, times: I64) -> F32:
        popularity = np.log1p(known.counts(items, times))
        columns = np.column_stack([popularity, known.rates(items, times), years[items]])
        return columns.astype(np.float32)

    def popularity_at(items: I64, times: I64) -> F32:
        return known.rates(items, times)[:, : len(tasks)].astype(np.float32)

    pages = _pages(log)
    page_times = np.repeat(pages.start_time, np.diff(pages.offsets))
    impressions = Impressions(
        pages.member,
        pages.start_time,
        pages.offsets[:-1] - log.offsets[pages.member],
        pages.offsets,
        log.items,
        features_at(log.items, page_times),
        _hour(pages.start_time),
        labels,
    )
    bids = np.random.default_rng(seed).lognormal(0.0, 0.5, len(films.ids) + 1).round(3).astype(np.float32)
    return Dataset(
        name="movielens-100k",
        surface=surface,
        item_ids=("", *films.ids),
        actions=ACTIONS,
        tasks=tuple(tasks),
        feature_names=FEATURES,
        context_names=CONTEXT,
        member_ids=member_ids,
        log=log,
        splits=split_by_time(impressions),
        features_at=features_at,
        popularity_at=popularity_at,
        item_bids=bids if surface == "ads" else None,
    )


def read_films(path: Path) -> Films:
    """The films of `u.item` (latin-1, no header) or `u.item.orig` (header line). Raises DatasetError."""
    ids: list[str] = []
    years: list[float] = []
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        fields = line.split("|")
        if number == 1 and not fields[0].isdigit():
            continue  # the header line
        if len(fields) < 3 or not fields[0].isdigit():
            raise DatasetError(path, number, "expected `id|title|release date|…`")
        ids.append(fields[0])
        year = _YEAR.search(fields[2])
        years.append(float(year.group(1)) if year else float("nan"))
    if len(set(ids)) != len(ids):
        raise DatasetError(path, 0, "film ids repeat")
    if np.isnan(years).all():
        raise DatasetError(path, 0, "no film has a release date")
    return Films(tuple(ids), np.array(years, dtype=np.float32))


def _items_path(folder: Path) -> Path:
    for name in ITEM_FILES:
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(folder / ITEM_FILES[-1], 0, f"is missing (neither {' nor '.join(ITEM_FILES)} is there)")


def _read_ratings(path: Path, films: Films) -> tuple[tuple[str, ...], ActionLog]:
    if not path.is_file():
        raise DatasetError(path, 0, "is missing")
    row_of = {film: row for row, film in enumerate(films.ids, start=1)}
    member_of: dict[str, int] = {}
    rows: list[tuple[int, int, int, int]] = []
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) != 4:
            raise DatasetError(path, number, f"expected 4 fields separated by tabs, found {len(fields)}")
        member, film, rating, second = fields
        if film not in row_of:
            raise DatasetError(path, number, f"film {film!r} is not in the list of films")
        if rating not in {"1", "2", "3", "4", "5"}:
            raise DatasetError(path, number, f"rating must be 1..5, found {rating!r}")
        if not second.isdigit():
            raise DatasetError(path, number, f"time must be whole seconds since 1970, found {second!r}")
        rows.append((member_of.setdefault(member, len(member_of)), row_of[film], int(rating), int(second)))
    if len(rows) < 10:
        raise DatasetError(path, 0, f"{len(rows)} ratings are too few to split into train, validation and test")
    members, items, ratings, seconds = np.array(rows, dtype=np.int64).T
    return tuple(member_of), action_log(len(member_of), members, items, ratings - 1, seconds * 1000)


def _pages(log: ActionLog) -> _Pages:
    """Cut each member's log into pages: a rating within PAGE_MS of the page's first belongs to it."""
    member: list[int] = []
    first: list[int] = []
    times = log.times.tolist()
    for owner, (begin, end) in enumerate(zip(log.offsets[:-1].tolist(), log.offsets[1:].tolist(), strict=True)):
        start = None
        for at in range(begin, end):
            if start is None or times[at] - start > PAGE_MS:
                start = times[at]
                member.append(owner)
                first.append(at)
    lengths = np.diff([*first, len(times)])
    return _Pages(np.array(member, dtype=np.int64), log.times[first], offsets_of(lengths))


def _hour(times: I64) -> F32:
    """Time of day (UTC) as a point on a circle: [N, 2] float32."""
    angle = 2.0 * np.pi * (times % DAY_MS) / DAY_MS
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
