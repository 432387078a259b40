"""Logs: one line a record on stderr, as text or as JSON, with the request and the trace it belongs to.

It does not know what is logged. What must never be in a line: a member id at INFO or above, a secret at any level.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Literal

import msgspec

from service import context

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_encode = msgspec.json.Encoder().encode


class TextFormatter(logging.Formatter):
    """For people: time, level, logger, message, then the ids; a stack follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        ids = "".join(f" {name}={value}" for name, value in _ids().items())
        return super().formatMessage(record) + ids


class JsonFormatter(logging.Formatter):
    """For machines: one object a line, whatever the message holds. Times are UTC, RFC 3339."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, stack = record.exc_info
            line["error"] = {
                "type": kind.__qualname__,
                "message": str(error),
                "stack": "".join(traceback.format_exception(kind, error, stack)),
            }
        return _encode(line).decode()


_FORMATTERS: dict[LogFormat, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def log_to_stderr(level: LogLevel, form: LogFormat) -> None:
    """Send every logger's records to stderr; what was set up before is replaced."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMATTERS[form]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its own start-up lines repeat ours


def _ids() -> dict[str, str]:
    """The ids at hand. Read when a line is formatted, which its own thread does."""
    found: dict[str, str] = {}
    request_id, place = context.request_id.get(), context.trace.get()
    if request_id is not None:
        found["request_id"] = request_id
    if place is not None:
        found |= {"trace_id": place.trace_id, "span_id": place.span_id}
    return found
