"""ModelRepository: which version of each surface's model serves, and how another one takes its place.

    load beside the one that serves → verified, rehearsed, admitted → swapped in one step → the one before is let go

A request holds the model that it began with, so no answer mixes versions. A bundle that is refused changes nothing:
the one before serves on, and `index` says why. This module does not know torch, HTTP or Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol, get_args

from model.bundle import MANIFEST_FILE, BundleError, Manifest, Surface, read_manifest, versions
from service.errors import BundleRefused, ModelUnavailable, NotFound, RankonceError
from service.models import LoadedModel
from service.schemas import ModelState

log = logging.getLogger(__name__)

SURFACES: tuple[Surface, ...] = get_args(Surface)
LoadResult = Literal["loaded", "refused"]
_LONGEST_REASON = 500


class Surroundings(Protocol):
    """What has to be right before a model serves, and what follows once it does."""

    def admitted(self, model: LoadedModel, others: Sequence[Manifest]) -> AbstractAsyncContextManager[None]:
        """Inside, this model may take over. Raises BundleError if it must not, StoreUnavailable if that cannot be told.

        others: manifests of the surface's other versions, as far as they can be read.
        """
        ...

    def changed(self, serving: Mapping[Surface, LoadedModel], surface: Surface, old: LoadedModel | None) -> None:
        """These serve from now on; `old` was there for `surface` before."""
        ...

    def counted(self, surface: Surface, result: LoadResult) -> None: ...


class ModelRepository:
    """The bundles under `root`, `<surface>/<version>/` each; one version a surface serves. Event-loop only.

    load: turns a bundle's folder into a LoadedModel, or raises BundleError.
    """

    def __init__(self, root: Path, load: Callable[[Path], Awaitable[LoadedModel]], surroundings: Surroundings) -> None:
        self._root = root
        self._load = load
        self._surroundings = surroundings
        self._serving: dict[Surface, LoadedModel] = {}
        self._before: dict[Surface, str] = {}
        self._loading: tuple[Surface, str] | None = None
        self._refused: dict[tuple[Surface, str], str] = {}
        self._one_at_a_time = asyncio.Lock()

    @property
    def serving(self) -> Mapping[Surface, LoadedModel]:
        return self._serving

    def get(self, surface: Surface) -> LoadedModel:
        """The model that answers for `surface` now. Raises ModelUnavailable."""
        try:
            return self._serving[surface]
        except KeyError:
            raise ModelUnavailable(f"no model is loaded for {surface}") from None

    async def open(self) -> None:
        """Load the newest version that can serve, for every surface that has one. Raises BundleError.

        A repository without any bundle is refused as well: a service that can rank nothing should not start.
        """
        for surface in SURFACES:
            failed: BundleRefused | None = None
            for version in reversed(versions(self._root, surface)):
                try:
                    await self.load(surface, version)
                    break
                except BundleRefused as error:
                    failed = failed or error
            if failed and surface not in self._serving:
                assert isinstance(failed.__cause__, BundleError)
                raise failed.__cause__
        if not self._serving:
            raise BundleError(str(self._root), f"holds no bundle; expected {' or '.join(SURFACES)}/<version>/")

    async def load(self, surface: Surface, version: str | None = None) -> LoadedModel:
        """Let a version serve, by default the newest; the one before serves until this one is ready.

        Loading the version that serves reads it again. Raises NotFound, BundleRefused, or what kept it from being told
        (StoreUnavailable): then nothing has changed.
        """
        async with self._one_at_a_time:
            found = versions(self._root, surface)
            version = version or (found[-1] if found else "")
            if version not in found:
                raise NotFound(f"the repository has no version {version} of {surface}".replace("  ", " "))
            self._loading = surface, version
            try:
                model = await self._read(surface, version)
                others = [m for m in await asyncio.to_thread(self.manifests, surface) if m.version != version]
                async with self._surroundings.admitted(model, others):
                    self._swap(surface, model)
            except BundleError as error:
                raise BundleRefused(self._refuse(surface, version, str(error))) from error
            except RankonceError as error:
                self._refuse(surface, version, error.detail)
                raise
            finally:
                self._loading = None
            self._refused.pop((surface, version), None)
            self._surroundings.counted(surface, "loaded")
            log.info("serving %s version %s", surface, version)
            return model

    async def unload(self, surface: Surface) -> None:
        """Serve this surface no longer; requests that have begun are finished."""
        async with self._one_at_a_time:
            if surface in self._serving:
                self._swap(surface, None)
                log.info("no longer serving %s", surface)

    async def rollback(self, surface: Surface) -> LoadedModel:
        """Load the version that served before. Raises NotFound, or as `load`."""
        if surface not in self._before:
            raise NotFound(f"no other version of {surface} has served since the service started")
        return await self.load(surface, self._before[surface])

    def index(self) -> list[ModelState]:
        """Every version in the repository, and those that serve although their folder is gone."""
        return [
            ModelState(surface, version, *self._state(surface, version))
            for surface in SURFACES
            for version in self.known(surface)
        ]

    def known(self, surface: Surface) -> list[str]:
        """Versions of a surface, oldest first."""
        found = set(versions(self._root, surface))
        if surface in self._serving:
            found.add(self._serving[surface].manifest.version)
        return sorted(found, key=int)

    def manifests(self, *surfaces: Surface) -> list[Manifest]:
        """Of every version in the repository, by default of every surface, as far as they can be read; blocks."""
        found = []
        for surface in surfaces or SURFACES:
            for version in versions(self._root, surface):
                with contextlib.suppress(BundleError):
                    found.append(read_manifest(self._root / surface / version))
        return found

    def _state(self, surface: Surface, version: str) -> tuple[Literal["READY", "LOADING", "UNAVAILABLE"], str]:
        refused = self._refused.get((surface, version), "")
        serving = self._serving.get(surface)
        if serving is not None and serving.manifest.version == version:
            return "READY", refused and f"serves on; loading it again was refused: {refused}"
        if self._loading == (surface, version):
            return "LOADING", ""
        return "UNAVAILABLE", refused or "not loaded"

    async def _read(self, surface: Surface, version: str) -> LoadedModel:
        directory = self._root / surface / version
        try:
            model = await self._load(directory)
        except BundleError as error:
            raise BundleError(str(directory / error.file), error.reason) from error
        except Exception as error:  # what a strange bundle may provoke: the service must survive it
            log.exception("loading %s failed", directory)
            raise BundleError(str(directory), f"cannot be loaded ({type(error).__name__})") from error
        if (model.manifest.name, model.manifest.version, model.manifest.surface) != (surface, version, surface):
            found = f"{model.manifest.name}/{model.manifest.version}"
            raise BundleError(
                str(directory / MANIFEST_FILE), f"says {found} for {model.manifest.surface}, not its folder"
            )
        return model

    def _swap(self, surface: Surface, model: LoadedModel | None) -> None:
        old = self._serving.get(surface)
        if model is None:
            del self._serving[surface]
        else:
            self._serving[surface] = model
        if old is not None and (model is None or model.manifest.version != old.manifest.version):
            self._before[surface] = old.manifest.version
        self._surroundings.changed(self._serving, surface, old)

    def _refuse(self, surface: Surface, version: str, reason: str) -> str:
        reason = reason.partition("\n")[0][:_LONGEST_REASON]
        self._refused[surface, version] = reason
        self._surroundings.counted(surface, "refused")
        log.error("%s version %s is refused: %s", surface, version, reason)
        return reason
