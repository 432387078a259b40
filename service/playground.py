"""The playground's offer: members, items and vocabularies to try the service with. It does not know HTTP.

It names members, so it is on by default only where nobody but this machine can ask.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from model.bundle import Surface
from service.histories import HistoryStore
from service.models import LoadedModel
from service.settings import Settings

MEMBERS = 50
ITEMS = 500


class SurfaceOffer(Struct):
    """items: some of the bundle's `item_count`, drawn at random · max_candidates: of one request."""

    version: str
    tasks: list[str]
    actions: list[str]
    items: list[str]
    item_count: int
    max_candidates: int
    max_history: int


class Offer(Struct):
    """members: some that have a history, in no order that means anything."""

    members: list[str]
    surfaces: dict[Surface, SurfaceOffer]


def enabled(settings: Settings) -> bool:
    """As set; unset, only while the service listens on a loopback address."""
    return _is_loopback(settings.host) if settings.playground is None else settings.playground


async def offer(settings: Settings, models: Mapping[Surface, LoadedModel], stores: Mapping[str, HistoryStore]) -> Offer:
    """Raises StoreUnavailable."""
    model = next(iter(models.values()), None)
    store = stores[model.manifest.embedding_version] if model else None
    return Offer(
        members=sorted(await store.members(MEMBERS)) if store else [],
        surfaces={surface: _surface(model, settings.max_candidates) for surface, model in models.items()},
    )


def _surface(model: LoadedModel, most: int) -> SurfaceOffer:
    known = len(model.items) - 1  # but for row 0, the unknown item
    rows = np.random.default_rng().choice(known, min(ITEMS, known), replace=False) + 1
    return SurfaceOffer(
        version=model.manifest.version,
        tasks=[task.name for task in model.manifest.tasks],
        actions=list(model.manifest.actions),
        items=[model.items.ids[row] for row in rows.tolist()],
        item_count=known,
        max_candidates=min(most, model.manifest.max_candidates),
        max_history=model.manifest.max_history,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
