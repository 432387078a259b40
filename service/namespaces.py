"""Namespaces: the history stores and event logs of the embedding versions in use, as models come and go.

In use is the version of every model that serves, and of the one that served a surface before: events go to its log as
well, so that a rollback finds the histories complete. This module does not know Redis, HTTP or torch.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from model.bundle import MANIFEST_FILE, BundleError, Manifest, Surface
from service.events import EventLog, EventsService
from service.histories import HistoryStore
from service.items import Items
from service.migration import Migration, NotTranslatable
from service.models import LoadedModel

log = logging.getLogger(__name__)

COPIES_IN_FLIGHT = 4  # few: ranking uses the same Redis
OpenStore = Callable[[Manifest, int], HistoryStore]
"""The store of a manifest's embedding version, for windows of at most so many actions."""


class Namespaces:
    """stores: embedding version → store. Tells `events` which logs to write. Event-loop only.

    may_be_empty: histories are about to be loaded, so a version without any is no reason to refuse a model.
    """

    def __init__(self, open_store: OpenStore, events: EventsService, may_be_empty: bool = False) -> None:
        self._open_store = open_store
        self._events = events
        self.may_be_empty = may_be_empty
        self.stores: dict[str, HistoryStore] = {}
        self.logs: tuple[EventLog, ...] = ()
        self._used: dict[str, tuple[Manifest, EventLog]] = {}
        self._longest: dict[str, int] = {}
        self._before: dict[Surface, tuple[Manifest, EventLog]] = {}
        self._read: dict[Surface, str] = {}  # the version whose histories a surface's newest model reads, or read
        self._leaving: list[HistoryStore] = []

    @asynccontextmanager
    async def admitted(self, model: LoadedModel, others: Sequence[Manifest]) -> AsyncIterator[None]:
        """The model may take over inside, at once: every history that it will read is complete until then.

        others: manifests of the same surface's other versions. Raises BundleError where the model would misread the
        histories of a version in use, or would find none although another version has some; StoreUnavailable.
        """
        await self._close_left()
        manifest = model.manifest
        version = manifest.embedding_version
        if version in self._used:
            _check_shared(manifest, model.items, *self._used[version])
            yield
            return
        elsewhere = {other.embedding_version: other for other in others if other.embedding_version != version}
        if elsewhere and not self.may_be_empty:
            await self._check_filled(manifest, elsewhere)
        going_on = self._used.get(self._read.get(manifest.surface, ""))
        if going_on is None:  # the first of its surface
            yield
            return
        async with self._joined(model, going_on[1]):
            yield

    async def unused(self, manifests: Iterable[Manifest]) -> list[HistoryStore]:
        """Stores, to be closed, of the embedding versions that are not in use."""
        others = {m.embedding_version: m for m in manifests if m.embedding_version not in self._used}
        return [self._open_store(manifest, manifest.max_history) for manifest in others.values()]

    @asynccontextmanager
    async def _joined(self, model: LoadedModel, source: EventLog) -> AsyncIterator[None]:
        """Events reach the model's namespace as well, and what was missing there is copied until nothing is."""
        manifest = model.manifest
        store = self._open_store(manifest, manifest.max_history)
        self._leaving.append(store)  # closed a load later: an event may still be on its way there
        try:
            migration = Migration(source, EventLog(store, model.items, manifest.actions))
        except NotTranslatable as error:
            raise BundleError(MANIFEST_FILE, f"cannot take the histories over: {error}") from error
        # Once every event brings its member's log up to date, one pass over the others leaves none behind.
        async with self._events.paused():
            self._events.use(self.logs, migration)
        try:
            report = await migration.run(COPIES_IN_FLIGHT)
            log.info("of %d histories %d had to be brought up to date", report.members, report.copied)
            async with self._events.paused():
                yield
        finally:
            self._events.use(self.logs)

    def changed(self, serving: Mapping[Surface, LoadedModel], surface: Surface, old: LoadedModel | None) -> None:
        """These models serve now; `old` served `surface` before."""
        if old is not None:
            self._before[surface] = self._used[old.manifest.embedding_version]
        for model in serving.values():
            self._make_room(model.manifest)
        used: dict[str, tuple[Manifest, EventLog]] = {}
        for model in serving.values():
            version = model.manifest.embedding_version
            event_log = EventLog(self.stores[version], model.items, model.manifest.actions)
            used.setdefault(version, (model.manifest, event_log))
        # Of what served before no more than this is kept, and nothing where a model that serves has the same version,
        # or where its log has no word for an action that a serving model knows: it would refuse those events.
        words = {action for _, event_log in used.values() for action in event_log.actions}
        self._before = {
            s: log
            for s, log in self._before.items()
            if log[0].embedding_version not in used and words <= set(log[1].actions)
        }
        used |= {log[0].embedding_version: log for log in self._before.values()}
        for version in self.stores.keys() - used.keys():
            self._leaving.append(self.stores.pop(version))
            del self._longest[version]
        self._used = used
        self._read |= {surface: model.manifest.embedding_version for surface, model in serving.items()}
        self.logs = tuple(event_log for _, event_log in used.values())
        self._events.use(self.logs)

    async def close(self) -> None:
        self._leaving += self.stores.values()
        await self._close_left()

    def _make_room(self, manifest: Manifest) -> None:
        """Open the version's store, or one that keeps more where a longer window needs it."""
        version, longest = manifest.embedding_version, manifest.max_history
        if longest > self._longest.get(version, 0):
            if version in self.stores:
                self._leaving.append(self.stores[version])
            self.stores[version] = self._open_store(manifest, longest)
            self._longest[version] = longest

    async def _close_left(self) -> None:
        """Called a whole load later: requests that have begun with them are over."""
        while self._leaving:
            await self._leaving.pop().close()

    async def _check_filled(self, manifest: Manifest, elsewhere: Mapping[str, Manifest]) -> None:
        if await self._holds_any(manifest):
            return
        for version, other in elsewhere.items():
            if await self._holds_any(other):
                raise BundleError(
                    MANIFEST_FILE,
                    f"no history is stored under its embedding version {manifest.embedding_version}, while version "
                    f"{version} of {other.name}/{other.version} has some: run migrate-histories first",
                )

    async def _holds_any(self, manifest: Manifest) -> bool:
        store = self._open_store(manifest, manifest.max_history)
        try:
            return bool(await store.members(1))
        finally:
            await store.close()


def _check_shared(manifest: Manifest, items: Items, used: Manifest, event_log: EventLog) -> None:
    """A version is one table: another one would misread the records."""
    if not event_log.refers_to(items, manifest.actions):
        raise BundleError(
            MANIFEST_FILE,
            f"has the embedding version {manifest.embedding_version} of {used.name}/{used.version}, but differs in "
            "its items or actions: give it a version of its own",
        )
