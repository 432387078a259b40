"""The histories file: how members' logs leave training for the service that loads them.

One member a line (JSON Lines) or a row (Parquet, with the optional pyarrow), events oldest → newest:

    {"member_id": "42", "events": [{"item_id": "50", "action": "rated_5", "timestamp": 881250949000}, …]}

It does not know who reads the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model.datasets.base import I64, Dataset

PARQUET_SUFFIX = ".parquet"


def history_ends(dataset: Dataset) -> I64:
    """[M] — how much of each log the file holds: all that came strictly before the member's last test request.

    A request of the test split replayed against these histories sees what it saw then. A member without one has all of
    its log in the file.
    """
    ends = np.diff(dataset.log.offsets)
    test = dataset.splits["test"]
    ends[test.member] = test.history_end  # in order of time: the last request's stays
    return ends


def write_histories(path: Path, dataset: Dataset) -> int:
    """Write every member with at least one action, Parquet if the name ends so, else JSON Lines. Returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        write = _write_parquet if path.suffix == PARQUET_SUFFIX else _write_lines
        written = write(writing, dataset)
        writing.replace(path)
    finally:
        writing.unlink(missing_ok=True)
    return written


def _members(dataset: Dataset) -> Iterator[dict[str, Any]]:
    log = dataset.log
    for member, length in enumerate(history_ends(dataset).tolist()):
        window = slice(int(log.offsets[member]), int(log.offsets[member]) + length)
        events = [
            {"item_id": dataset.item_ids[item], "action": dataset.actions[action], "timestamp": timestamp}
            for item, action, timestamp in zip(
                log.items[window].tolist(), log.actions[window].tolist(), log.times[window].tolist(), strict=True
            )
        ]
        if events:
            yield {"member_id": dataset.member_ids[member], "events": events}


def _write_lines(path: Path, dataset: Dataset) -> int:
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for member in _members(dataset):
            file.write(json.dumps(member, ensure_ascii=False, separators=(",", ":")) + "\n")
            written += 1
    return written


def _write_parquet(path: Path, dataset: Dataset) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    event = pa.struct([("item_id", pa.string()), ("action", pa.string()), ("timestamp", pa.int64())])
    schema = pa.schema([("member_id", pa.string()), ("events", pa.list_(event))])
    table = pa.Table.from_pylist(list(_members(dataset)), schema=schema)
    parquet.write_table(table, path)
    return int(table.num_rows)
