"""Histories without a running service: the stores that a repository's bundles need, loading a file into them, and
taking them over into another embedding version.

It does not know torch or HTTP: bundles are read, not run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from model.bundle import BundleError, Manifest, Surface, read_items, read_manifest, verify, versions
from service.errors import StoreUnavailable, Unavailable
from service.events import EventLog, event_logs
from service.histories import HistoryStore
from service.items import Items
from service.loading import LoadReport, load_histories
from service.migration import Migration, MigrationReport, NotTranslatable
from service.redis_histories import RedisHistoryStore
from service.repository import SURFACES
from service.settings import Settings

log = logging.getLogger(__name__)


class StartFailed(Exception):
    """What was asked for cannot begin; the message is for the person who asked."""


async def load_offline(file: Path, settings: Settings, url: str) -> LoadReport:
    """Load a histories file into the Redis at `url`. Raises StartFailed or LoadingFailed."""
    try:
        bundles = [_read(settings.model_repository, surface) for surface in SURFACES]
        used = [bundle for bundle in bundles if bundle is not None]
        if not used:
            raise BundleError(str(settings.model_repository), f"holds no bundle; expected {SURFACES[0]}/<version>/")
        async with AsyncExitStack() as stack:
            stores = history_stores(settings, url, [manifest for manifest, _ in used])
            for store in stores.values():
                stack.push_async_callback(store.close)
            await verify_stores(stores.values())
            return await load_histories(file, event_logs(used, stores))
    except (BundleError, Unavailable, ValueError) as error:
        raise StartFailed(f"cannot load histories: {error}") from error


async def migrate_offline(
    surface: Surface,
    from_version: str,
    to_version: str,
    settings: Settings,
    url: str,
    progress: Callable[[MigrationReport], None] | None = None,
) -> MigrationReport:
    """Take every history of one bundle's embedding version over into another's. Raises StartFailed."""
    try:
        async with AsyncExitStack() as stack:
            logs = []
            for version in (from_version, to_version):
                manifest, items = _read_version(settings.model_repository, surface, version)
                store = history_store(settings, url, manifest, manifest.max_history)
                stack.push_async_callback(store.close)
                logs.append((manifest.embedding_version, EventLog(store, items, manifest.actions)))
            (old, source), (new, target) = logs
            if old == new:
                raise NotTranslatable(f"both versions have the embedding version {old}: there is nothing to do")
            return await Migration(source, target).run(progress=progress)
    except (BundleError, Unavailable, NotTranslatable, ValueError) as error:
        raise StartFailed(f"cannot migrate histories: {error}") from error


def history_stores(settings: Settings, url: str, manifests: Iterable[Manifest]) -> dict[str, HistoryStore]:
    """One store an embedding version, which keeps enough for the longest window of the bundles that share it."""
    sharing: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        sharing.setdefault(manifest.embedding_version, []).append(manifest)
    stores: dict[str, HistoryStore] = {}
    for version, bundles in sharing.items():
        widths = {manifest.embedding_dim for manifest in bundles}
        if len(widths) > 1:
            raise ValueError(f"embedding version {version} is {' and '.join(map(str, sorted(widths)))} wide")
        longest = max(manifest.max_history for manifest in bundles)
        stores[version] = history_store(settings, url, bundles[0], longest)
    return stores


async def verify_stores(stores: Iterable[HistoryStore]) -> None:
    """Raise ValueError if one may forget what it was given. One that cannot be asked is warned of: a service that
    starts while Redis is away is still of use."""
    for store in stores:
        try:
            await store.verify()
        except StoreUnavailable as error:
            log.warning("whether Redis evicts histories is not known: %s", error.detail)


def history_store(settings: Settings, url: str, manifest: Manifest, max_history: int) -> HistoryStore:
    """The store of a manifest's embedding version. max_history: of the longest window that is read of it."""
    return RedisHistoryStore(
        url,
        settings.namespace,
        manifest.embedding_version,
        manifest.embedding_dim,
        max_history,
        settings.store_timeout_ms,
        settings.history_ttl_seconds,
        settings.wait_replicas,
    )


def _read(root: Path, surface: Surface) -> tuple[Manifest, Items] | None:
    """The newest bundle of a surface, verified, without its ranker."""
    found = versions(root, surface)
    return _read_version(root, surface, found[-1]) if found else None


def _read_version(root: Path, surface: Surface, version: str) -> tuple[Manifest, Items]:
    directory = root / surface / version
    try:
        manifest = read_manifest(directory)
        verify(directory, manifest)
        return manifest, Items(read_items(directory, manifest))
    except BundleError as error:
        raise BundleError(str(directory / error.file), error.reason) from error
