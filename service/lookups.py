"""HistoryLookup: a member's window from the store as arrays, and what happens when that fails.

It does not know Redis, the ranker, or how long anything may take.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from typing import Literal, NamedTuple

from service.codec import HistoryVersion, MemberHistory
from service.encoded import Cached, EncodedHistory
from service.errors import HistoryDamaged, StoreUnavailable
from service.histories import HistoryStore, Window
from service.inputs import HistoryArrays, history_arrays
from service.models import LoadedModel
from service.observation import LookupResult
from service.schemas import HistorySource

log = logging.getLogger(__name__)

_REMEMBERED_COMPLAINTS = 10_000
_SOURCES: dict[LookupResult, HistorySource] = {
    "found": "store",
    "unchanged": "cache",
    "absent": "cold_start",
    "unavailable": "degraded",
    "damaged": "degraded",
}


class Lookup(NamedTuple):
    """Either `kept` is the encoding of this very history (result `unchanged`), or `history` and `arrays` are it.

    prefix: an encoding of the history's first actions, which the ranker can extend by the others
    """

    result: LookupResult
    version: HistoryVersion
    history: MemberHistory | None = None
    arrays: HistoryArrays | None = None
    kept: EncodedHistory | None = None
    prefix: EncodedHistory | None = None

    @property
    def length(self) -> int:
        return self.kept.length if self.kept is not None else self.unkept[0].length

    @property
    def unkept(self) -> tuple[MemberHistory, HistoryArrays]:
        """The history itself, for who offered no encoding of it, or one that was outdated."""
        assert self.history is not None, "the history was not read, because an encoding of it was at hand"
        assert self.arrays is not None, "the history was not read, because an encoding of it was at hand"
        return self.history, self.arrays

    @property
    def source(self) -> HistorySource:
        return _SOURCES[self.result]


class HistoryLookup:
    """`stores`: one by embedding version. `on_failure`: a failed or damaged read ranks as a cold start, or raises."""

    def __init__(self, stores: Mapping[str, HistoryStore], on_failure: Literal["degraded", "unavailable"]) -> None:
        self._stores = stores
        self._on_failure = on_failure
        self._salt = secrets.token_bytes(16)  # so that a member cannot be guessed from the log
        self._complaints: set[str] = set()
        self._store_failing = False

    async def read(self, model: LoadedModel, member_id: str, kept: Cached | None) -> Lookup:
        """One round trip. Raises StoreUnavailable or HistoryDamaged where `on_failure` says so.

        kept: an encoding at hand, which saves the transfer if the store says that it is current, and most of the
        encoding if the history has only grown. A failed read never falls back on anything older: it is a cold start,
        and says so.
        """
        manifest = model.manifest
        store = self._stores[manifest.embedding_version]
        try:
            history = await store.get(member_id, Window(manifest.max_history, manifest.slack), kept and kept.version)
            self._store_failing = False
            if history is None:
                assert kept is not None, "only a known version can be unchanged"
                return Lookup("unchanged", kept.version, kept=kept.encoded)
            arrays = history_arrays(history, manifest)
        except (StoreUnavailable, HistoryDamaged) as error:
            self._complain(member_id, error)
            if self._on_failure == "unavailable":
                raise
            history = MemberHistory.empty(manifest.embedding_dim)
            result: LookupResult = "damaged" if isinstance(error, HistoryDamaged) else "unavailable"
            return Lookup(result, history.version, history, history_arrays(history, manifest))
        prefix = kept.encoded if kept is not None and manifest.extendable and _continues(history, kept) else None
        return Lookup("found" if history.length else "absent", history.version, history, arrays, prefix=prefix)

    def _complain(self, member_id: str, error: StoreUnavailable | HistoryDamaged) -> None:
        """Log an outage when it begins, and a damaged log once a member, who stays anonymous."""
        if isinstance(error, StoreUnavailable):
            if not self._store_failing:
                log.warning("the history store is failing: %s", error.detail)
            self._store_failing = True
            return
        member = hashlib.blake2s(member_id.encode(), key=self._salt, digest_size=8).hexdigest()
        if member not in self._complaints and len(self._complaints) < _REMEMBERED_COMPLAINTS:
            self._complaints.add(member)
            log.warning("member %s (hashed): %s", member, error.detail)


def _continues(history: MemberHistory, kept: Cached) -> bool:
    """Whether the history is what `kept` encodes and more: the same log, from the same anchor on, grown since."""
    version, start = kept.version, kept.version.total - kept.encoded.length
    return (version.incarnation, start) == (history.incarnation, history.start) and version.total < history.total
