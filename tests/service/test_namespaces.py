"""Namespaces: a store and a log for each embedding version in use, and none that a model would misread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.bundle import BundleError, ItemTable, Manifest, Surface, read_items, read_manifest
from service.codec import encode_records
from service.events import EventsService
from service.histories import InMemoryHistoryStore
from service.items import Items
from service.models import LoadedModel
from service.namespaces import Namespaces
from tests.fakes import FakeRanker


class Stores:
    """Stores by embedding version that outlive their closing, as Redis does; notes which are open."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, bytes]] = {}
        self.open: list[tuple[str, int]] = []

    def __call__(self, manifest: Manifest, longest: int) -> InMemoryHistoryStore:
        opened = (manifest.embedding_version, longest)
        noted = self.open

        class Store(InMemoryHistoryStore):
            async def close(self) -> None:
                noted.remove(opened)

        noted.append(opened)
        store = Store(manifest.embedding_dim, longest)
        store.logs = self.kept.setdefault(manifest.embedding_version, {})
        return store


@pytest.fixture
def stores() -> Stores:
    return Stores()


@pytest.fixture
def namespaces(stores: Stores) -> Namespaces:
    return Namespaces(stores, EventsService())


@pytest.fixture
def table(repository: Path) -> ItemTable:
    return read_items(repository / "feed" / "1", read_manifest(repository / "feed" / "1"))


@pytest.fixture
def bundle(repository: Path, table: ItemTable) -> Any:
    """A model of the feed's manifest with changes."""
    manifest = read_manifest(repository / "feed" / "1")

    def build(version: str = "e1", items: ItemTable = table, **changes: Any) -> LoadedModel:
        changed = manifest.model_copy(update={"embedding_version": version, **changes})
        return LoadedModel(changed, Items(items), FakeRanker())

    return build


def swap(
    namespaces: Namespaces, serving: dict[Surface, LoadedModel], surface: Surface, model: LoadedModel | None
) -> None:
    old = serving.pop(surface, None)
    if model is not None:
        serving[surface] = model
    namespaces.changed(serving, surface, old)


async def admit(namespaces: Namespaces, model: LoadedModel, *others: LoadedModel) -> None:
    async with namespaces.admitted(model, [other.manifest for other in others]):
        pass


def versions(namespaces: Namespaces) -> list[str]:
    return [next(v for v, store in namespaces.stores.items() if store is log.store) for log in namespaces.logs]


async def fill(namespaces: Namespaces, version: str) -> None:
    log = next(log for log in namespaces.logs if log.store is namespaces.stores[version])
    records = encode_records([1], [0], [1], log.items.embeddings16[[1]])
    await log.store.append("m", records, None)


async def test_surfaces_that_share_a_version_share_a_log(namespaces: Namespaces, bundle: Any, stores: Stores) -> None:
    """One store, which keeps enough for the longest window, and one log."""
    serving: dict[Surface, LoadedModel] = {}
    for surface, longest in (("feed", 8), ("ads", 32)):
        model = bundle(max_history=longest)
        await admit(namespaces, model)
        swap(namespaces, serving, surface, model)  # type: ignore[arg-type]
    await admit(namespaces, bundle())

    assert versions(namespaces) == ["e1"]
    assert stores.open == [("e1", 32)]
    assert namespaces.logs[0].store is namespaces.stores["e1"]


@pytest.mark.parametrize("differs", ["ids", "embeddings", "actions"])
async def test_one_version_is_one_table(namespaces: Namespaces, bundle: Any, table: ItemTable, differs: str) -> None:
    """A model with other items or actions under the same version would misread every history."""
    swap(namespaces, {}, "feed", bundle())
    ids, embeddings = list(table.ids), table.embeddings.copy()
    if differs == "ids":
        ids[1], ids[2] = ids[2], ids[1]
    embeddings[3] += np.float16(differs == "embeddings")
    actions = {"actions": ("view", "like", "click")} if differs == "actions" else {}
    other = bundle(items=ItemTable(tuple(ids), embeddings), **actions)

    with pytest.raises(BundleError, match="e1 of feed/1, but differs"):
        await admit(namespaces, other)


async def test_a_version_without_histories_is_refused_while_another_has_some(
    namespaces: Namespaces, bundle: Any, stores: Stores
) -> None:
    """Every member would silently start cold; a new installation, where none has any, is no such case."""
    old, new = bundle("e1"), bundle("e2")
    serving: dict[Surface, LoadedModel] = {}
    swap(namespaces, serving, "feed", old)
    await admit(namespaces, new, old)
    await fill(namespaces, "e1")

    with pytest.raises(BundleError, match="no history is stored under its embedding version e2, while version e1"):
        await admit(namespaces, new, old)
    assert stores.open == [("e1", 24)]

    await admit(Namespaces(stores, EventsService(), may_be_empty=True), new, old)
    stores.kept["e2"] = stores.kept["e1"].copy()
    await admit(namespaces, new, old)


async def test_events_go_to_what_served_before_as_well(namespaces: Namespaces, bundle: Any, stores: Stores) -> None:
    """So that a rollback finds complete histories; two versions back is forgotten, and closed a load later."""
    serving: dict[Surface, LoadedModel] = {}
    for version in ("e1", "e2"):
        swap(namespaces, serving, "feed", bundle(version))
    assert versions(namespaces) == ["e2", "e1"]

    swap(namespaces, serving, "feed", bundle("e3"))
    assert versions(namespaces) == ["e3", "e2"]
    assert ("e1", 24) in stores.open
    await admit(namespaces, bundle("e3"))
    assert stores.open == [("e2", 24), ("e3", 24)]

    swap(namespaces, serving, "feed", bundle("e2"))
    assert versions(namespaces) == ["e2", "e3"]


async def test_an_unloaded_surface_keeps_its_log(namespaces: Namespaces, bundle: Any, stores: Stores) -> None:
    """What members do meanwhile is not lost."""
    serving: dict[Surface, LoadedModel] = {}
    swap(namespaces, serving, "feed", bundle("e1"))

    swap(namespaces, serving, "feed", None)

    assert versions(namespaces) == ["e1"]
    await namespaces.close()
    assert stores.open == []


async def test_of_a_replaced_model_nothing_is_kept_where_the_version_stays(namespaces: Namespaces, bundle: Any) -> None:
    """Item tables are large: the log reads that of the model that serves."""
    serving: dict[Surface, LoadedModel] = {}
    swap(namespaces, serving, "feed", bundle())
    new = bundle()
    swap(namespaces, serving, "feed", new)

    assert [log.items for log in namespaces.logs] == [new.items]
    assert namespaces._before == {}


async def test_a_version_before_without_a_word_for_new_actions_is_let_go(namespaces: Namespaces, bundle: Any) -> None:
    """Its log would refuse events that the serving model knows; going back to it is refused then."""
    serving: dict[Surface, LoadedModel] = {}
    old, new = bundle("e1"), bundle("e2", actions=("view", "click", "like", "share"))
    for model in (old, new):
        swap(namespaces, serving, "feed", model)

    assert versions(namespaces) == ["e2"]
    with pytest.raises(BundleError, match="does not know the action share"):
        await admit(namespaces, old)


async def test_surfaces_of_different_versions_start_side_by_side(namespaces: Namespaces, bundle: Any) -> None:
    """The first model of a surface takes nobody's histories over: each surface has its own."""
    serving: dict[Surface, LoadedModel] = {}
    swap(namespaces, serving, "feed", bundle("e1"))
    await fill(namespaces, "e1")
    ads = bundle("e2", surface="ads")

    await admit(namespaces, ads)
    swap(namespaces, serving, "ads", ads)

    assert versions(namespaces) == ["e1", "e2"]
    assert (await namespaces.stores["e2"].log("m")).total == 0


async def test_histories_are_complete_when_the_model_takes_over(namespaces: Namespaces, bundle: Any) -> None:
    """Also for a surface that was unloaded meanwhile; and afterwards both versions get every event."""
    serving: dict[Surface, LoadedModel] = {}
    swap(namespaces, serving, "feed", bundle("e1"))
    await fill(namespaces, "e1")
    swap(namespaces, serving, "feed", None)
    new = bundle("e2")

    async with namespaces.admitted(new, []):
        swap(namespaces, serving, "feed", new)

    assert versions(namespaces) == ["e2", "e1"]
    for log in namespaces.logs:
        assert (await log.store.log("m")).total == 1
