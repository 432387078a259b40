"""load-histories: a file of members' histories → the history stores.

JSON Lines, or Parquet with the same columns, one member a line, oldest action first:

    {"member_id": "42", "events": [{"item_id": "50", "action": "rated_5", "timestamp": 881250949000}]}

Each line replaces the member's log, so loading a file again changes nothing but incarnations. This module does not
know where histories are stored, nor how the file was made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from service.errors import InvalidRequest, StoreUnavailable
from service.events import EventLog
from service.schemas import Event, MemberId

IN_FLIGHT = 16
PATIENCE_SECONDS = 5.0
"""How long a history is tried to be stored: a store's timeout is a request's, and a load is in less of a hurry."""
_PAUSE_SECONDS = 0.1
_PARQUET_ROWS = 256


class HistoryLine(msgspec.Struct, forbid_unknown_fields=True):
    """One line of a histories file."""

    member_id: MemberId
    events: list[Event]


class LoadingFailed(Exception):
    """A file that cannot be loaded; the message names the line and the field."""


@dataclass(frozen=True)
class LoadReport:
    """Counts so far. unknown_items: actions whose item the (first) item table lacks; they are loaded as row 0."""

    members: int = 0
    actions: int = 0
    unknown_items: int = 0


async def load_histories(
    path: Path,
    logs: Sequence[EventLog],
    *,
    progress: Callable[[LoadReport], None] | None = None,
    in_flight: int = IN_FLIGHT,
    patience_seconds: float = PATIENCE_SECONDS,
) -> LoadReport:
    """Store every member's history in each of `logs`; at most `in_flight` members are being written at a time.

    The file is streamed. Raises LoadingFailed at the first bad line, StoreUnavailable if a store fails for
    `patience_seconds`; the lines before it stay stored. `progress` is called after each line is read and handed to the
    stores.
    """
    report = LoadReport()
    seen: set[str] = set()
    writing: set[asyncio.Task[None]] = set()
    try:
        for where, line in _read(path):
            if line.member_id in seen:
                raise LoadingFailed(f"{where}: member_id: this member has a line already")
            seen.add(line.member_id)
            batches, unknown = _encode(where, line, logs)
            writing.add(asyncio.create_task(_write(line.member_id, batches, patience_seconds)))
            if len(writing) >= in_flight:
                await _some(writing, asyncio.FIRST_COMPLETED)
            report = LoadReport(report.members + 1, report.actions + len(line.events), report.unknown_items + unknown)
            if progress is not None:
                progress(report)
        await _some(writing, asyncio.ALL_COMPLETED)
    finally:
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
    return report


async def _some(writing: set[asyncio.Task[None]], when: str) -> None:
    if writing:
        done, _ = await asyncio.wait(writing, return_when=when)
        writing -= done
        for task in done:
            task.result()


async def _write(member_id: str, batches: list[tuple[EventLog, bytes]], patience_seconds: float) -> None:
    give_up = time.monotonic() + patience_seconds
    for log, records in batches:
        while True:
            try:
                await log.store.replace(member_id, records)  # as often as one likes: the whole log each time
                break
            except StoreUnavailable:
                if time.monotonic() >= give_up:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)


def _encode(where: str, line: HistoryLine, logs: Sequence[EventLog]) -> tuple[list[tuple[EventLog, bytes]], int]:
    try:
        encoded = [(log, log.encode(line.events)) for log in logs]
    except InvalidRequest as error:
        raise LoadingFailed(f"{where}: {error.field}: {error.detail}") from None
    return [(log, events.records) for log, events in encoded], encoded[0][1].unknown_items if encoded else 0


def _read(path: Path) -> Iterator[tuple[str, HistoryLine]]:
    """(where, line) of each line; `where` names it for a message."""
    try:
        yield from _read_parquet(path) if path.suffix == ".parquet" else _read_json_lines(path)
    except OSError as error:
        raise LoadingFailed(f"{path}: {error.strerror or 'cannot be read'}") from error


def _read_json_lines(path: Path) -> Iterator[tuple[str, HistoryLine]]:
    decoder = msgspec.json.Decoder(HistoryLine)
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            where = f"{path.name}: line {number}"
            try:
                yield where, decoder.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise LoadingFailed(f"{where}: {error}") from None


def _read_parquet(path: Path) -> Iterator[tuple[str, HistoryLine]]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise LoadingFailed(f"{path.name}: reading Parquet needs pyarrow: pip install 'rankonce[parquet]'") from None
    try:
        file = ParquetFile(path)
    except ArrowInvalid as error:
        raise LoadingFailed(f"{path.name}: {error}") from None
    with file:
        number = 0
        for batch in file.iter_batches(_PARQUET_ROWS):
            rows: list[dict[str, Any]] = batch.to_pylist()
            for row in rows:
                number += 1
                where = f"{path.name}: row {number}"
                try:
                    yield where, msgspec.convert(row, HistoryLine)
                except msgspec.ValidationError as error:
                    raise LoadingFailed(f"{where}: {error}") from None
