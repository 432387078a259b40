"""The histories file: whole logs up to the member's last test request, in either format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.datasets.base import Dataset
from model.datasets.synthetic import World, load_synthetic
from model.histories_file import history_ends, write_histories


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A tiny synthetic feed."""
    return load_synthetic("feed", seed=2, world=World(members=20, items=40, sessions=8))


def test_a_members_history_ends_before_its_last_test_request(dataset: Dataset) -> None:
    """No action at or after that request is in the file, and none before it is missing."""
    test = dataset.splits["test"]
    ends = history_ends(dataset)
    for member in range(len(dataset.member_ids)):
        own = test.request_time[test.member == member]
        times = dataset.log.times[dataset.log.offsets[member] : dataset.log.offsets[member + 1]]
        expected = (times < own.max()).sum() if len(own) else len(times)
        assert ends[member] == expected


def test_json_lines_hold_every_member_oldest_action_first(tmp_path: Path, dataset: Dataset) -> None:
    """Ids, action names and times are those of the log."""
    path = tmp_path / "deep" / "histories.jsonl"
    written = write_histories(path, dataset)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ends = history_ends(dataset)

    assert written == len(lines) == int((ends > 0).sum())
    for line in lines:
        member = dataset.member_ids.index(line["member_id"])
        begin = dataset.log.offsets[member]
        window = slice(begin, begin + ends[member])
        assert [event["timestamp"] for event in line["events"]] == dataset.log.times[window].tolist()
        assert [event["item_id"] for event in line["events"]] == [
            dataset.item_ids[item] for item in dataset.log.items[window]
        ]
        assert {event["action"] for event in line["events"]} <= set(dataset.actions)
        assert (np.diff([event["timestamp"] for event in line["events"]]) >= 0).all()


def test_parquet_holds_the_same(tmp_path: Path, dataset: Dataset) -> None:
    """The two formats carry equal rows."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional (extra `parquet`)")
    write_histories(tmp_path / "histories.jsonl", dataset)
    write_histories(tmp_path / "histories.parquet", dataset)
    lines = [json.loads(line) for line in (tmp_path / "histories.jsonl").read_text().splitlines()]

    assert parquet.read_table(tmp_path / "histories.parquet").to_pylist() == lines


def test_nothing_is_left_beside_the_file(tmp_path: Path, dataset: Dataset) -> None:
    """The file is replaced in one step."""
    write_histories(tmp_path / "histories.jsonl", dataset)
    write_histories(tmp_path / "histories.jsonl", dataset)

    assert [path.name for path in tmp_path.iterdir()] == ["histories.jsonl"]
