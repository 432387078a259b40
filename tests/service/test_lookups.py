"""HistoryLookup: what the store's answer, or its failure, means for a request."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from model.bundle import read_items, read_manifest
from service.codec import HistoryVersion, encode_records
from service.encoded import Cached, EncodedHistory
from service.errors import HistoryDamaged, StoreUnavailable
from service.items import Items
from service.lookups import HistoryLookup
from service.models import LoadedModel
from tests.fakes import FailingStore, FakeRanker


@pytest.fixture
def model(repository: Path) -> LoadedModel:
    manifest = read_manifest(repository / "feed" / "1")
    return LoadedModel(manifest, Items(read_items(repository / "feed" / "1", manifest)), FakeRanker())


@pytest.fixture
async def store(model: LoadedModel) -> FailingStore:
    """One member, bob, with 30 actions: more than the window of 24 holds."""
    store = FailingStore(model.manifest.embedding_dim, model.manifest.max_history)
    rows = np.arange(1, 31)
    await store.append("bob", encode_records(rows, rows % 3, rows, model.items.embeddings16[rows]), None)
    return store


@pytest.fixture
def lookup(model: LoadedModel, store: FailingStore) -> HistoryLookup:
    return HistoryLookup({model.manifest.embedding_version: store}, "degraded")


async def test_a_history_is_found_as_the_window_of_its_bundle(lookup: HistoryLookup, model: LoadedModel) -> None:
    """30 actions, T_max 24, slack 6: the window starts at the sixth."""
    found = await lookup.read(model, "bob", None)

    assert (found.result, found.source) == ("found", "store")
    assert found.version.total == 30
    assert found.arrays is not None
    assert found.arrays.timestamps.tolist() == list(range(7, 31))


async def test_a_member_without_a_history_is_a_cold_start(lookup: HistoryLookup, model: LoadedModel) -> None:
    """An empty history, not an error."""
    found = await lookup.read(model, "nobody", None)

    assert (found.result, found.source) == ("absent", "cold_start")
    assert found.arrays is not None
    assert found.arrays.length == 0


async def test_a_known_version_saves_the_transfer(lookup: HistoryLookup, model: LoadedModel) -> None:
    """Nothing is decoded when the caller's version is the log's; anything else is read."""
    first = await lookup.read(model, "bob", None)
    incarnation = first.version.incarnation
    encoded = EncodedHistory((), 24, 0, 0.0)

    unchanged = await lookup.read(model, "bob", Cached(first.version, encoded))

    assert (unchanged.result, unchanged.source) == ("unchanged", "cache")
    assert (unchanged.kept, unchanged.history, unchanged.length) == (encoded, None, 24)
    for outdated in (HistoryVersion(incarnation, 29), HistoryVersion(incarnation + 1, 30)):
        found = await lookup.read(model, "bob", Cached(outdated, encoded))
        assert (found.result, found.kept) == ("found", None)


@pytest.mark.parametrize(
    ("error", "result"), [(StoreUnavailable("down"), "unavailable"), (HistoryDamaged("bad"), "damaged")]
)
async def test_a_failed_read_is_a_cold_start_that_says_so_or_an_error(
    lookup: HistoryLookup, store: FailingStore, model: LoadedModel, error: Exception, result: str
) -> None:
    """By one setting; and never an older history, even if the caller has one."""
    version = (await lookup.read(model, "bob", None)).version
    store.error = error

    found = await lookup.read(model, "bob", Cached(version, EncodedHistory((), 24, 0, 0.0)))

    assert (found.result, found.source) == (result, "degraded")
    assert found.arrays is not None
    assert found.arrays.length == 0
    strict = HistoryLookup({model.manifest.embedding_version: store}, "unavailable")
    with pytest.raises(type(error)):
        await strict.read(model, "bob", None)


async def test_foreign_bytes_in_a_members_log_are_damage(
    lookup: HistoryLookup, store: FailingStore, model: LoadedModel
) -> None:
    """From the store's codec up: a misaligned log is not read."""
    store.logs["bob"] += b"xyz"

    assert (await lookup.read(model, "bob", None)).result == "damaged"


async def test_damage_is_logged_once_a_member_who_stays_anonymous(
    lookup: HistoryLookup, store: FailingStore, model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Two members, many reads, two lines, no member id."""
    for member_id in ("bob-smith", "eve-jones"):
        store.logs[member_id] = b"foreign"
        for _ in range(3):
            await lookup.read(model, member_id, None)

    assert len(caplog.records) == 2
    assert "bob" not in caplog.text
    assert "eve" not in caplog.text


async def test_an_outage_is_logged_when_it_begins(
    lookup: HistoryLookup, store: FailingStore, model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each outage, however many requests meet it."""
    caplog.set_level(logging.WARNING)
    for error in (StoreUnavailable("down"), None, StoreUnavailable("down again")):
        store.error = error
        for _ in range(3):
            await lookup.read(model, "bob", None)

    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.parametrize(
    ("extendable", "total", "length", "incarnation", "expected"),
    [
        (True, 29, 23, 0, True),
        (True, 25, 19, 0, True),
        (False, 29, 23, 0, False),  # a bidirectional ranker has nothing to extend
        (True, 24, 24, 0, False),  # the anchor has moved since
        (True, 29, 23, 1, False),  # rewritten since
        (True, 31, 25, 0, False),  # a failover took an action back
    ],
)
async def test_what_encodes_the_same_log_from_the_same_anchor_can_be_extended(
    model: LoadedModel, store: FailingStore, extendable: bool, total: int, length: int, incarnation: int, expected: bool
) -> None:
    """Of 30 actions the window holds the last 24, from the sixth on: only an encoding that begins there is a prefix."""
    model = LoadedModel(model.manifest.model_copy(update={"extendable": extendable}), model.items, model.ranker)
    lookup = HistoryLookup({model.manifest.embedding_version: store}, "degraded")
    current = (await store.log("bob")).version
    encoded = EncodedHistory("older", length, 10, 0.1)

    found = await lookup.read(model, "bob", Cached(HistoryVersion(current.incarnation + incarnation, total), encoded))

    assert found.result == "found"
    assert found.kept is None
    assert found.prefix is (encoded if expected else None)
