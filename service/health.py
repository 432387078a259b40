"""Readiness: should requests be sent here, and if not, why. It does not know HTTP or how anything is started."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal, get_args

from model.bundle import Surface
from service.errors import StoreUnavailable
from service.histories import HistoryStore
from service.models import LoadedModel
from service.schemas import Health

Phase = Literal["starting", "serving", "draining"]


class Readiness:
    """The service's phase of life: starting → serving → draining. Only while serving may it be ready."""

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        self.stuck = False  # an inference thread does not come back
        self._stores_answered = False

    @property
    def serving(self) -> bool:
        return self.phase == "serving" and not self.stuck

    def drain(self) -> None:
        """Take no more requests than those that come anyway."""
        self.phase = "draining"

    async def report(
        self, models: Mapping[Surface, LoadedModel], stores: Mapping[str, HistoryStore], stores_needed: bool = True
    ) -> Health:
        """`checks` holds one line a part. A surface without a model is told, and is no reason to send nothing here.

        Nor is a store that fails, unless `stores_needed`: taking every instance out of service is worse than ranking
        without histories. But until the stores have answered once, they are more likely set up wrong than down.
        """
        checks: dict[str, str] = {"phase": self.phase}
        if self.stuck:
            checks["inference"] = "a thread does not come back"
        for surface in get_args(Surface):
            model = models.get(surface)
            checks[f"model:{surface}"] = f"version {model.manifest.version}" if model else "none"
        stores = dict(stores)  # a reload may change them while they are asked
        answers = await asyncio.gather(*map(_ping, stores.values()))
        checks |= {f"store:{version}": answer for version, answer in zip(stores, answers, strict=True)}
        answered = all(answer == "ok" for answer in answers)
        self._stores_answered |= answered
        ready = self.serving and bool(models) and (answered or (self._stores_answered and not stores_needed))
        return Health("ok" if ready else "unavailable", checks)


async def _ping(store: HistoryStore) -> str:
    try:
        await store.ping()
    except StoreUnavailable as error:
        return error.detail
    return "ok"
