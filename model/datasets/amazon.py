"""Amazon purchase sequences: one member a line, `member item item …`, oldest → newest (the SASRec/TIGER files).

The files hold no timestamps, so **the position in the sequence stands for the time, in ms**: "earlier" means earlier in
a sequence, and as-of counts read all sequences up to the same position. Task `next`: the item bought next, against
seeded negatives that the member never bought. Leave-one-out: each member's last item is the test, the last but one the
validation. There is no ads surface here. It does not know torch or how the arrays are used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.bundle import Surface
from model.datasets.asof import AsOf
from model.datasets.base import F32, I64, Dataset, DatasetError, Impressions, Split, action_log, offsets_of

NEGATIVES = 20
FEATURES = ("log_popularity",)
CONTEXT = ("log_history",)


def load_amazon(path: Path, surface: Surface, seed: int, negatives: int = NEGATIVES) -> Dataset:
    """Read the file. `seed` draws the negatives. Raises DatasetError naming file and line."""
    if surface != "feed":
        raise DatasetError(path, 0, "purchase sequences have no ads surface (no price of a click); use --surface feed")
    member_ids, item_ids, sequences = read_sequences(path)
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    offsets = offsets_of(lengths)
    items = np.concatenate([np.array(sequence, dtype=np.int64) for sequence in sequences])
    member = np.repeat(np.arange(len(sequences)), lengths)
    position = np.arange(len(items)) - np.repeat(offsets[:-1], lengths)
    if negatives >= len(item_ids) - 1 - lengths.max():
        raise DatasetError(path, 0, f"too few items ({len(item_ids) - 1}) for {negatives} negatives a member never had")

    bought = AsOf(items, position, np.ones((len(items), 1), dtype=np.float32))
    others = _negatives(member, items, len(item_ids), negatives, np.random.default_rng(seed))
    candidates = np.concatenate([items[:, None], others], axis=1)  # [A, 1 + negatives], the bought one first
    labels = np.zeros((*candidates.shape, 1), dtype=np.float32)
    labels[:, 0] = 1.0
    shown = AsOf(candidates.ravel(), np.repeat(position, 1 + negatives), labels.reshape(-1, 1))

    def features_at(items: I64, times: I64) -> F32:
        return np.log1p(bought.counts(items, times)).astype(np.float32)[:, None]

    def popularity_at(items: I64, times: I64) -> F32:
        return shown.rates(items, times).astype(np.float32)

    def split(targets: I64) -> Impressions:
        flat = candidates[targets].ravel()
        return Impressions(
            member[targets],
            position[targets],
            position[targets],
            offsets_of(np.full(len(targets), 1 + negatives)),
            flat,
            features_at(flat, np.repeat(position[targets], 1 + negatives)),
            np.log1p(position[targets]).astype(np.float32)[:, None],
            labels[targets].reshape(-1, 1),
        )

    left = np.repeat(lengths, lengths) - position  # 1 at a member's last item
    held_out = np.repeat(lengths, lengths) >= 3  # a shorter sequence has nothing to hold out
    splits: dict[Split, Impressions] = {
        "train": split(np.flatnonzero((left > 2) | ~held_out)),
        "validation": split(np.flatnonzero((left == 2) & held_out)),
        "test": split(np.flatnonzero((left == 1) & held_out)),
    }
    return Dataset(
        name=f"amazon-{path.stem.lower()}",
        surface=surface,
        item_ids=item_ids,
        actions=("bought",),
        tasks=("next",),
        feature_names=FEATURES,
        context_names=CONTEXT,
        member_ids=member_ids,
        log=action_log(len(sequences), member, items, np.zeros_like(items), position),
        splits=splits,
        features_at=features_at,
        popularity_at=popularity_at,
    )


def read_sequences(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], list[list[int]]]:
    """Member ids, item ids by row (row 0: the unknown item) and each member's item rows, oldest first.

    Raises DatasetError naming file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DatasetError(path, 0, "is not a text file") from None
    row_of: dict[str, int] = {"": 0}
    sequences: dict[str, list[int]] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) < 2:
            raise DatasetError(path, number, "expected a member id and at least one item id, separated by blanks")
        if fields[0] in sequences:
            raise DatasetError(path, number, f"member {fields[0]!r} has a line already")
        sequences[fields[0]] = [row_of.setdefault(item, len(row_of)) for item in fields[1:]]
    if not any(len(sequence) >= 3 for sequence in sequences.values()):
        raise DatasetError(path, 0, "no member has the three items that leave-one-out needs")
    return tuple(sequences), tuple(row_of), list(sequences.values())


def _negatives(member: I64, items: I64, rows: int, count: int, rng: np.random.Generator) -> I64:
    """[A, count] — for every action, distinct items that its member never bought. Redraws until it holds."""
    owned = np.unique(member * rows + items)
    drawn = rng.integers(1, rows, (len(items), count))
    while True:
        keys = member[:, None] * rows + drawn
        found = np.minimum(np.searchsorted(owned, keys), len(owned) - 1)
        bad = owned[found] == keys
        order = np.argsort(drawn, axis=1, kind="stable")
        ranked = np.take_along_axis(drawn, order, axis=1)
        repeated = np.zeros_like(bad)
        repeated[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
        np.put_along_axis(bad, order, repeated | np.take_along_axis(bad, order, axis=1), axis=1)
        if not bad.any():
            return drawn
        drawn[bad] = rng.integers(1, rows, int(bad.sum()))
