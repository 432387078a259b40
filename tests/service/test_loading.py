"""load-histories: files in, logs out, and messages that lead to the bad line."""

from __future__ import annotations

import asyncio
import builtins
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from loadtests.faults.redis_server import RedisServer
from model.bundle import ItemTable
from service.errors import StoreUnavailable
from service.events import EventLog
from service.histories import HistoryStore, InMemoryHistoryStore
from service.items import Items
from service.loading import LoadingFailed, LoadReport, load_histories
from service.redis_histories import RedisHistoryStore

DIM = 2
TABLE = ItemTable(("", "a", "b"), np.array([[9, 9], [1, 2], [3, 4]], np.float16))


def log_of(store: HistoryStore) -> EventLog:
    return EventLog(store, Items(TABLE), ("view", "click"))


def line(member: str, *events: tuple[str, str, int]) -> dict[str, Any]:
    return {"member_id": member, "events": [{"item_id": i, "action": a, "timestamp": t} for i, a, t in events]}


LINES = [
    line("1", ("a", "view", 10), ("gone", "click", 11)),
    line("2"),
    line("3", ("b", "click", 12)),
]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        event = pyarrow.struct({"item_id": pyarrow.string(), "action": pyarrow.string(), "timestamp": pyarrow.int64()})
        schema = pyarrow.schema({"member_id": pyarrow.string(), "events": pyarrow.list_(event)})
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines, schema), path)
    else:
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


@pytest.mark.parametrize("name", ["histories.jsonl", "histories.parquet"])
async def test_every_line_becomes_a_log(tmp_path: Path, name: str) -> None:
    """Both formats give the same logs, counts and progress."""
    store = InMemoryHistoryStore(DIM, 8)
    seen: list[LoadReport] = []
    report = await load_histories(write(tmp_path / name, LINES), [log_of(store)], progress=seen.append)
    assert report == LoadReport(members=3, actions=3, unknown_items=1)
    assert [each.members for each in seen] == [1, 2, 3]
    history = await store.log("1")
    np.testing.assert_array_equal(history.item_rows, [1, 0])
    np.testing.assert_array_equal(history.actions, [0, 1])
    np.testing.assert_array_equal(history.timestamps, [10, 11])
    np.testing.assert_array_equal(history.embeddings, [[1, 2], [9, 9]])
    assert set(store.logs) == {"1", "3"}


async def test_loading_again_replaces(tmp_path: Path, redis_url: str) -> None:
    """A second load leaves one copy of each history, in a real Redis, with more members than may be in flight."""
    store = RedisHistoryStore(redis_url, uuid.uuid4().hex, "v1", DIM, 8, 5000)
    lines = [line(str(member), ("a", "view", member), ("b", "click", member)) for member in range(100)]
    path = write(tmp_path / "histories.jsonl", lines)
    for _ in range(2):
        report = await load_histories(path, [log_of(store)], in_flight=7)
        assert report == LoadReport(100, 200, 0)
    for member in range(100):
        history = await store.log(str(member))
        np.testing.assert_array_equal(history.timestamps, [member, member])
    await store.close()


async def test_every_embedding_version_is_loaded(tmp_path: Path) -> None:
    """Each log gets the histories in the rows of its own table."""
    stores = [InMemoryHistoryStore(DIM, 8), InMemoryHistoryStore(DIM, 8)]
    await load_histories(write(tmp_path / "h.jsonl", LINES), [log_of(store) for store in stores])
    assert set(stores[0].logs) == set(stores[1].logs) == {"1", "3"}


class SlowStore(InMemoryHistoryStore):
    """Counts how many replaces run at once, and fails for the member `bad`."""

    running = peak = 0

    async def replace(self, member_id: str, records: bytes) -> int:
        if member_id == "bad":
            raise StoreUnavailable("away")
        self.running += 1
        self.peak = max(self.peak, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        return await super().replace(member_id, records)


async def test_writes_in_flight_are_many_but_bounded(tmp_path: Path) -> None:
    """The file is not read ahead of what the store has taken."""
    store = SlowStore(DIM, 8)
    path = write(tmp_path / "h.jsonl", [line(str(member), ("a", "view", 1)) for member in range(60)])
    await load_histories(path, [log_of(store)], in_flight=5)
    assert store.peak == 5
    assert len(store.logs) == 60


async def test_a_store_that_is_late_for_a_moment_does_not_end_the_load(tmp_path: Path) -> None:
    """A real Redis, stopped for five times as long as a request would wait."""
    path = write(tmp_path / "h.jsonl", [line(str(member), ("a", "view", 1)) for member in range(60)])
    with RedisServer() as redis:
        store = RedisHistoryStore(redis.url, "late", "v1", DIM, 8, 100)
        redis.stop()
        load = asyncio.create_task(load_histories(path, [log_of(store)], in_flight=5, patience_seconds=60.0))
        await asyncio.sleep(0.5)
        redis.resume()
        assert await load == LoadReport(60, 60, 0)
        assert len(await store.members(100)) == 60
        await store.close()


@pytest.mark.parametrize("at", [0, 30, 59])
async def test_a_failing_store_ends_the_load(tmp_path: Path, at: int) -> None:
    """The store's error comes out, wherever in the file it happened, and nothing is left running."""
    store = SlowStore(DIM, 8)
    members = [str(member) for member in range(60)]
    members[at] = "bad"
    path = write(tmp_path / "h.jsonl", [line(member, ("a", "view", 1)) for member in members])
    with pytest.raises(StoreUnavailable):
        await load_histories(path, [log_of(store)], in_flight=5, patience_seconds=0.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"member_id": "x", "events": [{"item_id": "a", "action": "buy", "timestamp": 1}]}', r"events\[0\].action"),
        ('{"member_id": "x", "events": [{"item_id": "a", "action": "view", "timestamp": 1.5}]}', r"timestamp"),
        ('{"member_id": "", "events": []}', r"member_id"),
        ('{"member_id": "x"}', r"events"),
        ('{"member_id": "x", "events": [], "name": "y"}', r"name"),
        ('{"member_id": "1", "events": []}', r"member_id: this member has a line already"),
        ("{", "truncated"),
        ('{"member_id": "\xff", "events": []}', "line 3"),
    ],
)
async def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The message has the file's name, the line's number and the field; blank lines count."""
    path = tmp_path / "h.jsonl"
    path.write_bytes(f"{json.dumps(LINES[0])}\n\n{text}\n".encode("latin-1"))
    with pytest.raises(LoadingFailed, match=rf"^h\.jsonl: line 3: .*{message}" if message != "line 3" else message):
        await load_histories(path, [log_of(InMemoryHistoryStore(DIM, 8))])


async def test_a_bad_row_is_named(tmp_path: Path) -> None:
    """Parquet counts rows."""
    path = write(tmp_path / "h.parquet", [LINES[0], line("x", ("a", "view", -1))])
    with pytest.raises(LoadingFailed, match=r"^h\.parquet: row 2: .*timestamp"):
        await load_histories(path, [log_of(InMemoryHistoryStore(DIM, 8))])


async def test_files_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    """Missing, or not Parquet at all."""
    logs = [log_of(InMemoryHistoryStore(DIM, 8))]
    with pytest.raises(LoadingFailed, match="No such file"):
        await load_histories(tmp_path / "none.jsonl", logs)
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(LoadingFailed, match=r"text\.parquet"):
        await load_histories(tmp_path / "text.parquet", logs)


async def test_without_pyarrow_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet is an optional extra."""
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LoadingFailed, match=r"rankonce\[parquet\]"):
        await load_histories(tmp_path / "h.parquet", [log_of(InMemoryHistoryStore(DIM, 8))])
