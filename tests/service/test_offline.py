"""Histories without a running service: the stores that bundles need, and loading into them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from loadtests.faults.redis_server import RedisServer
from model.bundle import Manifest, read_manifest
from service.histories import Window
from service.offline import StartFailed, history_stores, load_offline, verify_stores
from service.redis_histories import RedisHistoryStore
from service.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "histories.jsonl"
    events = [{"item_id": f"item-{i}", "action": "view", "timestamp": 1000 + i} for i in range(1, 4)]
    path.write_text(json.dumps({"member_id": "loaded", "events": events}) + "\n")
    return path


def url_of(settings: Settings) -> str:
    assert isinstance(settings.redis_url, SecretStr)
    return settings.redis_url.get_secret_value()


async def test_a_file_is_loaded_into_redis(settings: Settings, file: Path) -> None:
    """A service on the same Redis and repository then reads it."""
    report = await load_offline(file, settings, url_of(settings))

    manifest = read_manifest(settings.model_repository / "feed" / "1")
    (store,) = history_stores(settings, url_of(settings), [manifest]).values()
    history = await store.get("loaded", Window(manifest.max_history, manifest.slack))
    await store.close()
    assert (report.members, report.actions, report.unknown_items) == (1, 3, 0)
    assert history is not None
    assert history.length == 3


async def test_a_repository_without_bundles_is_refused(settings: Settings, file: Path, tmp_path: Path) -> None:
    """Item ids mean nothing without an item table."""
    empty = settings.model_copy(update={"model_repository": tmp_path})

    with pytest.raises(StartFailed, match="holds no bundle"):
        await load_offline(file, empty, url_of(settings))


async def test_a_damaged_bundle_is_refused_by_name(settings: Settings, file: Path, tmp_path: Path) -> None:
    """Histories are not written from a table that cannot be trusted."""
    shutil.copytree(settings.model_repository, tmp_path, dirs_exist_ok=True)
    table = tmp_path / "feed" / "1" / "items.safetensors"
    table.write_bytes(table.read_bytes()[:-1])

    with pytest.raises(StartFailed, match=str(table)):
        await load_offline(file, settings.model_copy(update={"model_repository": tmp_path}), url_of(settings))


async def test_redis_that_is_not_there_is_said(settings: Settings, file: Path) -> None:
    """One message, no stack."""
    with pytest.raises(StartFailed, match="history store"):
        await load_offline(file, settings, "redis://127.0.0.1:1")


def manifest(settings: Settings, **changes: object) -> Manifest:
    return read_manifest(settings.model_repository / "feed" / "1").model_copy(update=changes)


async def test_bundles_that_share_an_embedding_version_share_a_store(settings: Settings) -> None:
    """One store a version; the longest window decides how much it keeps."""
    bundles = [
        manifest(settings, embedding_version="e1", max_history=8),
        manifest(settings, embedding_version="e1", max_history=32),
        manifest(settings, embedding_version="e2", max_history=16),
    ]

    stores = history_stores(settings, url_of(settings), bundles)

    assert list(stores) == ["e1", "e2"]
    records = b"\0" * (14 + 2 * 16)
    for _ in range(70):
        await stores["e1"].append("long", records, None)
    kept = await stores["e1"].log("long")
    assert (kept.total, 32 <= kept.length <= 64) == (70, True)
    for store in stores.values():
        assert isinstance(store, RedisHistoryStore)
        await store.close()


def test_one_embedding_version_has_one_width(settings: Settings) -> None:
    """Two widths under one name would misread each other's records."""
    bundles = [manifest(settings, embedding_version="e1", embedding_dim=width) for width in (8, 16)]

    with pytest.raises(ValueError, match="e1 is 8 and 16 wide"):
        history_stores(settings, url_of(settings), bundles)


async def test_a_redis_that_evicts_is_refused(settings: Settings, file: Path) -> None:
    """Before anything is written: what it takes it might forget."""
    with RedisServer("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru") as server:
        with pytest.raises(StartFailed, match="maxmemory-policy is allkeys-lru"):
            await load_offline(file, settings, server.url)
        assert server.command("DBSIZE") == 0


async def test_a_redis_that_cannot_be_asked_is_warned_of(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """A service that starts while Redis is away ranks without histories until it is back."""
    manifest = read_manifest(settings.model_repository / "feed" / "1")
    stores = history_stores(settings, "redis://127.0.0.1:1", [manifest])
    await verify_stores(stores.values())
    assert "whether Redis evicts histories is not known: the history store cannot be reached" in caplog.text
    for store in stores.values():
        await store.close()
