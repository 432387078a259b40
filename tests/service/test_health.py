"""Readiness: one line a part, and ready only when every part is."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.bundle import Surface, read_items, read_manifest
from service.errors import StoreUnavailable
from service.health import Phase, Readiness
from service.histories import InMemoryHistoryStore
from service.items import Items
from service.models import LoadedModel
from tests.fakes import FakeRanker


class DeadStore(InMemoryHistoryStore):
    async def ping(self) -> None:
        raise StoreUnavailable("the history store cannot be reached")


@pytest.fixture
def models(repository: Path) -> dict[Surface, LoadedModel]:
    manifest = read_manifest(repository / "feed" / "1")
    return {"feed": LoadedModel(manifest, Items(read_items(repository / "feed" / "1", manifest)), FakeRanker())}


def serving() -> Readiness:
    readiness = Readiness()
    readiness.phase = "serving"
    return readiness


async def test_ready_when_everything_is(models: dict[Surface, LoadedModel]) -> None:
    """Each part has its line; a surface without a model is told, and no reason to be unready."""
    health = await serving().report(models, {"e1": InMemoryHistoryStore(4, 8)})

    assert health.status == "ok"
    assert health.checks == {"phase": "serving", "model:feed": "version 1", "model:ads": "none", "store:e1": "ok"}


@pytest.mark.parametrize("phase", ["starting", "draining"])
async def test_not_ready_before_and_after_serving(models: dict[Surface, LoadedModel], phase: Phase) -> None:
    """While it starts and while it drains, nothing new should come."""
    readiness = Readiness()
    readiness.phase = phase

    assert (await readiness.report(models, {"e1": InMemoryHistoryStore(4, 8)})).status == "unavailable"


async def test_not_ready_without_models() -> None:
    """A service that can rank nothing asks for no requests."""
    assert (await serving().report({}, {"e1": InMemoryHistoryStore(4, 8)})).status == "unavailable"


async def test_one_dead_store_is_enough(models: dict[Surface, LoadedModel]) -> None:
    """The reason stands at the store that is down, the other is still ok."""
    health = await serving().report(models, {"e1": InMemoryHistoryStore(4, 8), "e2": DeadStore(4, 8)})

    assert health.status == "unavailable"
    assert (health.checks["store:e1"], health.checks["store:e2"]) == ("ok", "the history store cannot be reached")


async def test_a_store_that_fails_later_is_no_reason_where_histories_can_be_done_without(
    models: dict[Surface, LoadedModel],
) -> None:
    """All instances would be unready at once. One that never answered is: it is more likely set up wrong."""
    readiness = serving()
    assert (await readiness.report(models, {"e1": DeadStore(4, 8)}, stores_needed=False)).status == "unavailable"
    assert (await readiness.report(models, {"e1": InMemoryHistoryStore(4, 8)}, stores_needed=False)).status == "ok"
    health = await readiness.report(models, {"e1": DeadStore(4, 8)}, stores_needed=False)
    assert (health.status, health.checks["store:e1"]) == ("ok", "the history store cannot be reached")
    assert (await readiness.report(models, {"e1": DeadStore(4, 8)}, stores_needed=True)).status == "unavailable"


async def test_draining_is_a_phase() -> None:
    """`drain` is what a signal calls."""
    readiness = serving()
    readiness.drain()

    assert (readiness.phase, readiness.serving) == ("draining", False)
