"""Context: which request, and which trace, the code at hand works for. It does not know who sets or reads it.

Context variables follow a request through its coroutines and tasks, and onto the threads that work for it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple


class TraceContext(NamedTuple):
    """A span's place, as W3C Trace Context writes it. trace_id: 32 hexadecimal digits · span_id: 16.

    sampled: the trace is recorded somewhere, so that pointing at it leads to something.
    """

    trace_id: str
    span_id: str
    sampled: bool

    def header(self) -> str:
        """The value of `traceparent` and `traceresponse`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
trace: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def sampled_trace_id() -> str | None:
    """The id of the trace at hand, if it is recorded."""
    place = trace.get()
    return place.trace_id if place is not None and place.sampled else None
