"""Moving a running service to another embedding version: refused, migrated, loaded under load, rolled back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from redis import Redis
from typer.testing import CliRunner, Result

from model.bundle import ItemTable, Surface
from model.config import RankerConfig
from model.export import export_bundle
from model.ranker import Ranker
from service.__main__ import app
from service.client import ProblemError
from service.schemas import Candidate, Event, RankRequest
from tests.conftest import ACTIONS, CONTEXT, SURFACES
from tests.live import Live


@pytest.fixture
def other(growing: Path, items: ItemTable, config: Callable[[Surface], RankerConfig]) -> Path:
    """feed/2 on a table of its own: the items in reverse order, one missing, with new embeddings."""
    ids = ("", *reversed(items.ids[2:]))
    embeddings = np.random.default_rng(3).standard_normal((len(ids), 16)).astype(np.float16)
    torch.manual_seed(9)
    tasks, features = SURFACES["feed"]
    export_bundle(
        growing / "feed" / "2",
        Ranker(config("feed")),
        config("feed"),
        ItemTable(ids, embeddings),
        surface="feed",
        tasks=tasks,
        actions=ACTIONS[::-1],
        features=features,
        context=CONTEXT,
    )
    return growing


def migrate(live: Live) -> Result:
    assert live.settings.redis_url is not None
    return CliRunner().invoke(
        app,
        [
            *("migrate-histories", "--surface", "feed", "--from-version", "1", "--to-version", "2"),
            *("--model-repository", str(live.settings.model_repository)),
            *("--redis-url", live.settings.redis_url.get_secret_value()),
        ],
        env={"RANKER_NAMESPACE": live.settings.namespace, "RANKER_STORE_TIMEOUT_MS": "10000"},
    )


def act(live: Live, member: str, *items: str) -> None:
    live.client.append_events(member, [Event(item, "click", 1000 + i) for i, item in enumerate(items)])


def shown(live: Live, member: str) -> list[str]:
    return [action.item_id for action in live.client.history(member).actions]


def ranked(live: Live, member: str) -> tuple[str, int]:
    response = live.client.rank(RankRequest(member, "feed", [Candidate("item-5")])).response
    return response.model.version, response.history.length


def test_histories_move_with_the_embeddings(reloadable: Live, other: Path) -> None:
    """Refused while no history is there; migrated by one command; what came after it is caught up by the load; a
    rollback finds the old histories complete as well."""
    live = reloadable
    act(live, "ann", "item-5", "item-1", "item-7")
    act(live, "ben", "item-9")
    with pytest.raises(ProblemError, match="migrate-histories"):
        live.client.load("feed", "2")

    result = migrate(live)

    assert result.exit_code == 0, result.output
    assert result.stdout == "2 members, 2 copied, the others were complete; 1 actions of unknown items\n"
    act(live, "ann", "item-8")
    act(live, "cat", "item-4")
    assert live.client.load("feed", "2").version == "2"
    assert [ranked(live, member) for member in ("ann", "ben", "cat")] == [("2", 4), ("2", 1), ("2", 1)]
    assert shown(live, "ann") == ["item-5", "", "item-7", "item-8"]  # the new table has no item-1

    act(live, "ann", "item-6")
    assert ranked(live, "ann") == ("2", 5)
    assert live.client.rollback("feed").version == "1"
    assert ranked(live, "ann") == ("1", 5)
    assert shown(live, "ann") == ["item-5", "item-1", "item-7", "item-8", "item-6"]


def test_an_erasure_reaches_a_version_that_waits_to_be_loaded(reloadable: Live, other: Path) -> None:
    """Nothing of an erased member is left in any namespace of the repository's bundles."""
    live = reloadable
    act(live, "ann", "item-5")
    act(live, "ben", "item-5")
    migrate(live)

    live.client.erase("ann")

    assert live.settings.redis_url is not None
    with Redis.from_url(live.settings.redis_url.get_secret_value()) as redis:
        left = [key.decode() for key in redis.scan_iter(f"{live.settings.namespace}:*")]
    assert sorted(key.rpartition(":")[2] for key in left) == ["{ben}", "{ben}"]


def test_no_acknowledged_event_is_lost_by_a_load_under_load(reloadable: Live, other: Path) -> None:
    """Members act and are ranked while histories are migrated and the new version takes over: afterwards every
    acknowledged action is in its log, once, and no request has failed."""
    live = reloadable
    for member in range(30):
        act(live, str(member), "item-5")
    done = threading.Event()

    def live_on(seed: int) -> dict[str, int]:
        rng = np.random.default_rng(seed)
        sent: dict[str, int] = {}
        while not done.is_set():
            member = f"{rng.integers(0, 40)}"
            act(live, member, f"item-{rng.integers(2, 50)}")
            sent[member] = sent.get(member, 0) + 1
            ranked(live, member)
        return sent

    with ThreadPoolExecutor(3) as threads:
        living = [threads.submit(live_on, seed) for seed in range(3)]
        try:
            assert migrate(live).exit_code == 0
            assert live.client.load("feed", "2").version == "2"
        finally:
            done.set()
        sent = [future.result() for future in living]

    acted = {str(member): 1 for member in range(30)}
    for counts in sent:
        for member, count in counts.items():
            acted[member] = acted.get(member, 0) + count
    assert {member: live.client.history(member).total for member in acted} == acted
    assert live.client.rollback("feed").version == "1"
    assert {member: live.client.history(member).total for member in acted} == acted


@pytest.mark.parametrize(
    ("versions", "told"),
    [(("1", "1"), "there is nothing to do"), (("1", "7"), "7/manifest.json: is missing")],
)
def test_a_migration_that_makes_no_sense_is_refused(live: Live, versions: tuple[str, str], told: str) -> None:
    """One line that names the reason."""
    assert live.settings.redis_url is not None
    arguments = ["migrate-histories", "--surface", "feed", "--from-version", versions[0], "--to-version", versions[1]]
    arguments += ["--model-repository", str(live.settings.model_repository)]
    without = CliRunner().invoke(app, arguments)
    result = CliRunner().invoke(app, [*arguments, "--redis-url", live.settings.redis_url.get_secret_value()])

    assert (without.exit_code, result.exit_code) == (1, 1)
    assert "RANKER_REDIS_URL" in without.stderr
    assert told in result.stderr
