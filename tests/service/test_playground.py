"""The playground's offer: who may see it, and what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service import playground
from service.settings import Settings
from tests.conftest import ACTIONS, ITEMS
from tests.service.worlds import build_world


@pytest.mark.parametrize(
    ("host", "on"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.7", "ranker.example", "")],
)
def test_it_is_on_by_default_only_where_none_but_this_machine_can_ask(host: str, on: bool) -> None:
    """It shows members; whoever listens to the world turns it on on purpose."""
    assert playground.enabled(Settings(host=host)) is on


def test_the_setting_wins_over_where_the_service_listens() -> None:
    """Both ways."""
    assert playground.enabled(Settings(host="0.0.0.0", playground=True))
    assert not playground.enabled(Settings(playground=False))


async def test_it_offers_members_with_a_history_and_items_of_each_bundle(repository: Path) -> None:
    """Members as the store has them, items drawn at random without the unknown one, vocabularies of the manifest."""
    world = build_world(repository)
    await world.act(1, member_id="zoe")
    await world.act(2, member_id="ann")
    stores = {world.model.manifest.embedding_version: world.store}

    offer = await playground.offer(Settings(max_candidates=40), world.models, stores)

    assert offer.members == ["ann", "zoe"]
    assert set(offer.surfaces) == {"feed", "ads"}
    feed = offer.surfaces["feed"]
    assert sorted(feed.items) == sorted(f"item-{i}" for i in range(1, ITEMS + 1))
    assert feed.item_count == ITEMS
    assert feed.actions == list(ACTIONS)
    assert feed.tasks == ["click", "like"]
    assert feed.max_candidates == 40
