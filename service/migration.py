"""Migration: members' logs of one embedding version → those of another, action by action.

    old row → item id → new row, and the new table's embedding; an id that the new table lacks becomes the unknown item

An image keeps its log's version, so comparing two logs says whether anything is missing: a migration may be stopped,
run again, and run while events are appended. It does not know Redis, bundles' files, or who serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import astuple, dataclass

import numpy as np

from model.bundle import UNKNOWN_ROW
from service.codec import MemberHistory, encode_records
from service.errors import HistoryDamaged, StoreUnavailable
from service.events import EventLog
from service.histories import Image

IN_FLIGHT = 16
_TRIES = 100  # a member whose log changes each time between reading and writing it


class NotTranslatable(Exception):
    """The new tables cannot say what the old records do."""


@dataclass(frozen=True)
class MigrationReport:
    """Counts. copied: logs that were behind · unknown_items: actions in those whose item the new table lacks ·
    ahead: logs that have more than the old ones, and are left alone · damaged: old logs that cannot be read."""

    members: int = 0
    copied: int = 0
    unknown_items: int = 0
    ahead: int = 0
    damaged: int = 0

    def __add__(self, other: MigrationReport) -> MigrationReport:
        return MigrationReport(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Migration:
    """From `source` to `target`. Raises NotTranslatable where the target has no word for an action of the source."""

    def __init__(self, source: EventLog, target: EventLog) -> None:
        missing = sorted(set(source.actions) - set(target.actions))
        if missing:
            raise NotTranslatable(f"the new bundle does not know the action {missing[0]}")
        self.source, self.target = source, target
        self._rows = target.items.rows(source.items.ids)  # [N] of the old table
        self._actions = np.array([target.actions.index(action) for action in source.actions])

    async def run(
        self, in_flight: int = IN_FLIGHT, progress: Callable[[MigrationReport], None] | None = None
    ) -> MigrationReport:
        """One pass over every member that has a log in the source; `in_flight` at a time. Raises StoreUnavailable."""
        report = MigrationReport()
        under_way: set[asyncio.Task[MigrationReport]] = set()

        async def some(until: str) -> None:
            nonlocal report
            done, _ = await asyncio.wait(under_way, return_when=until)
            under_way.difference_update(done)
            for task in done:
                report += task.result()
                if progress is not None:
                    progress(report)

        try:
            async with aclosing(self.source.store.scan()) as members:
                async for member_id in members:
                    under_way.add(asyncio.create_task(self.bring(member_id)))
                    if len(under_way) >= in_flight:
                        await some(asyncio.FIRST_COMPLETED)
            if under_way:
                await some(asyncio.ALL_COMPLETED)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return report

    async def bring(self, member_id: str) -> MigrationReport:
        """Make one member's log in the target complete."""
        source, target = self.source.store, self.target.store
        try:
            for _ in range(_TRIES):
                standing = await target.mirror(member_id, source)
                if standing != "behind":
                    return MigrationReport(members=1, ahead=int(standing == "ahead"))
                image, unknown = self._image(await source.log(member_id))
                if await target.mirror(member_id, source, image) == "same":
                    return MigrationReport(members=1, copied=1, unknown_items=unknown)
        except HistoryDamaged:  # it ranks as a cold start before and after
            return MigrationReport(members=1, damaged=1)
        raise StoreUnavailable("a member's history changes faster than it can be copied")

    def _image(self, history: MemberHistory) -> tuple[Image, int]:
        old, actions = history.item_rows, history.actions
        if history.length and (old.max() >= len(self._rows) or actions.max() >= len(self._actions)):
            raise HistoryDamaged("the member's history refers to items or actions that the model does not have")
        rows = self._rows[old]
        records = encode_records(rows, self._actions[actions], history.timestamps, self.target.items.embeddings16[rows])
        return Image(history, records), int(np.count_nonzero((rows == UNKNOWN_ROW) & (old != UNKNOWN_ROW)))
