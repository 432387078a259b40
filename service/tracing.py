"""Tracing: a span for every request and for each of its stages, sent to an OTLP collector. The only OpenTelemetry file.

The libraries are an optional extra and are imported by `Tracer` alone: while tracing is off they cost nothing. Spans
are told afterwards, from what was measured anyway, so tracing adds no clock to a request. Nothing here names a member:
a span has its route, not its path.
"""

from __future__ import annotations

import re
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from service.context import TraceContext
from service.observation import RankObservation

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

EXPORT_TIMEOUT_SECONDS = 5.0
UNASKED = {"/metrics", "/healthz", "/readyz"}
"""Asked for every few seconds by machines: traced only for a caller that traces."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01
_current: ContextVar[RequestSpan | None] = ContextVar("span", default=None)


def parse_traceparent(value: str) -> TraceContext | None:
    """The caller's place in its trace; None for what the W3C recommendation tells to ignore."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


class RequestSpan:
    """The span of one HTTP request. Made by `Tracer.begin`, ended once."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._token = _current.set(self)
        place = span.get_span_context()
        self.place = TraceContext(f"{place.trace_id:032x}", f"{place.span_id:016x}", place.trace_flags.sampled)

    def end(self, method: str, route: str | None, status: int) -> None:
        """Close it, now that the route and the status are known. status: 499 = the caller went away."""
        from opentelemetry.trace import StatusCode

        _current.reset(self._token)
        if self.span.is_recording():
            self.span.update_name(f"{method} {route}" if route else method)
            self.span.set_attribute("http.response.status_code", status)
            if route:
                self.span.set_attribute("http.route", route)
            if status >= 500:
                self.span.set_status(StatusCode.ERROR)
        self.span.end()


class Tracer:
    """Spans to the OTLP/HTTP collector at `endpoint`. A `RankObserver`.

    fraction: share of requests that are traced where the caller has not decided. Raises ValueError where the extra is
    not installed.
    """

    def __init__(self, endpoint: str, fraction: float, version: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        except ImportError as error:
            raise ValueError("RANKER_TRACING_ENDPOINT is set, which needs: pip install 'rankonce[tracing]'") from error

        self._trace = trace
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(fraction),
            resource=Resource.create({"service.name": "rankonce", "service.version": version}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("rankonce", version)

    def begin(
        self, method: str, path: str, request_id: str, caller: TraceContext | None, state: str
    ) -> RequestSpan | None:
        """Start a request's span, under the caller's where it sent one. state: its `tracestate` header."""
        if caller is None and path in UNASKED:
            return None
        parent = self._remote(caller, state) if caller is not None else None
        attributes = {"http.request.method": method, "rankonce.request_id": request_id}
        return RequestSpan(
            self._tracer.start_span(method, parent, kind=self._trace.SpanKind.SERVER, attributes=attributes)
        )

    def ranked(self, observation: RankObservation) -> None:
        """Describe the ranking on the request's span, and give each stage one of its own beneath it."""
        request = _current.get()
        if request is None or not request.span.is_recording():
            return
        seen = observation
        known = {
            "surface": seen.surface,
            "mode": seen.mode,
            "outcome": seen.outcome,
            "candidates": seen.candidates,
            "model_version": seen.model_version,
            "history_length": seen.history_length,
            "history_lookup": seen.lookup,
            "encoding": seen.encoding,
            "inference_seconds": seen.inference_seconds,
        }
        request.span.set_attributes({f"rankonce.{name}": value for name, value in known.items() if value is not None})
        parent = self._trace.set_span_in_context(request.span)
        # Stages are measured on the performance counter; a span wants the time of day.
        epoch_ns = time.time_ns() - time.perf_counter_ns()
        for stage, (start, end) in seen.clock.spans.items():
            span = self._tracer.start_span(stage, parent, start_time=epoch_ns + round(start * 1e9))
            span.end(epoch_ns + round(end * 1e9))

    def close(self) -> None:
        """Send what is left, for a few seconds at most; blocks."""
        self._provider.shutdown()

    def _remote(self, caller: TraceContext, state: str) -> Context:
        trace = self._trace
        place = trace.SpanContext(
            int(caller.trace_id, 16),
            int(caller.span_id, 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(caller.sampled),
            trace_state=trace.TraceState.from_header([state]),
        )
        parent: Context = trace.set_span_in_context(trace.NonRecordingSpan(place))
        return parent
