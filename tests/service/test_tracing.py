"""Tracing: the caller's trace is continued, and a collector on a real socket receives spans without members in them."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.assembly import open_service
from service.context import TraceContext
from service.health import Readiness
from service.offline import StartFailed
from service.schemas import Candidate, RankRequest
from service.settings import Settings
from service.tracing import parse_traceparent
from tests.live import Live, serving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{TRACE}-{SPAN}-01"
BODY = msgspec.json.encode(RankRequest("zebra", "feed", [Candidate("item-1"), Candidate("item-2")]))
JSON = {"content-type": "application/json"}
WAIT_SECONDS = 30.0


@dataclass
class Collector:
    """An OTLP/HTTP collector. requests: what it received; spans(): of all of them."""

    url: str = ""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that listens on the loopback while the test runs."""
    running = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            running.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        yield running
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def traced(settings: Settings, collector: Collector, **more: object) -> Iterator[Live]:
    """A service that sends its spans there; all of them once it has ended."""
    with serving(settings.model_copy(update={"tracing_endpoint": collector.url, **more})) as live:
        yield live


def attributes(span: Span) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (CALLER, TraceContext(TRACE, SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-00", TraceContext(TRACE, SPAN, sampled=False)),
        (f"00-{TRACE}-{SPAN}-03", TraceContext(TRACE, SPAN, sampled=True)),
        (f"cc-{TRACE}-{SPAN}-01-later-version", TraceContext(TRACE, SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (CALLER.upper(), None),
        (f"{CALLER}\n", None),
        ("", None),
    ],
)
def test_a_callers_trace_is_read_as_the_recommendation_says(header: str, expected: TraceContext | None) -> None:
    """Later versions are read as this one; what is malformed or all zeros is as good as absent."""
    assert parse_traceparent(header) == expected


def test_a_ranking_is_a_span_with_its_stages_beneath(settings: Settings, collector: Collector) -> None:
    """The caller's trace goes on: its span is the parent of ours, ours is told in the answer and is the stages' parent,
    which follow each other inside of it."""
    with traced(settings, collector) as live:
        headers = {**JSON, "traceparent": CALLER, "tracestate": "vendor=1", "x-request-id": "r-1"}
        answer = live.http.post("/v1/rank", content=BODY, headers=headers)
    spans = {span.name: span for span in collector.spans()}
    request = spans.pop("POST /v1/rank")

    assert answer.headers["traceresponse"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, SPAN)
    assert (request.kind, request.trace_state) == (Span.SPAN_KIND_SERVER, "vendor=1")
    described = attributes(request)
    assert described | {"rankonce.inference_seconds": 0} == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/rank",
        "rankonce.request_id": "r-1",
        "rankonce.surface": "feed",
        "rankonce.mode": "amortized",
        "rankonce.outcome": "ok",
        "rankonce.candidates": 2,
        "rankonce.model_version": "1",
        "rankonce.history_length": 0,
        "rankonce.history_lookup": "absent",
        "rankonce.encoding": "computed",
        "rankonce.inference_seconds": 0,
    }
    stages = sorted(spans.values(), key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in stages] == ["history", "assemble", "encode", "score", "order"]
    assert {span.parent_span_id for span in stages} == {request.span_id}
    slack = 1_000_000  # two clocks, read one after the other
    ends = [span.end_time_unix_nano for span in stages]
    assert request.start_time_unix_nano - slack <= stages[0].start_time_unix_nano
    assert max(ends) <= request.end_time_unix_nano + slack
    assert all(span.start_time_unix_nano <= end for span, end in zip(stages, ends, strict=True))
    one_after_the_other = stages[-3:]  # the candidates are assembled while the history is read
    assert all(a.end_time_unix_nano <= b.start_time_unix_nano + slack for a, b in pairwise(one_after_the_other))


def test_every_answer_has_a_span_and_none_names_a_member(settings: Settings, collector: Collector) -> None:
    """Events, inspection and refusals too; the path, which holds the member, is not in it."""
    with traced(settings, collector) as live:
        live.client.rank(RankRequest("zebra", "feed", [Candidate("item-1")], mode="non_amortized"))
        live.http.get("/v1/members/zebra/history")
        live.http.post("/v1/rank", content=b"{", headers=JSON)
        live.http.get("/zebra")
        live.http.get("/metrics")
        live.http.get("/healthz", headers={"traceparent": CALLER})
    found = sorted((span.name, attributes(span).get("http.response.status_code")) for span in collector.spans())

    assert [pair for pair in found if pair[1] is not None] == [
        ("GET", 404),
        ("GET /healthz", 200),
        ("GET /v1/members/{member_id}/history", 404),
        ("POST /v1/rank", 200),
        ("POST /v1/rank", 422),
    ]
    assert not any(b"zebra" in request.SerializeToString() for request in collector.requests)


def test_the_callers_decision_and_the_fraction_are_kept(settings: Settings, collector: Collector) -> None:
    """An unsampled caller is not recorded, whatever the fraction; without a caller the fraction decides."""
    with traced(settings, collector, tracing_fraction=0.0) as live:
        unsampled = live.http.post("/v1/rank", content=BODY, headers={**JSON, "traceparent": f"00-{TRACE}-{SPAN}-00"})
        by_chance = live.http.post("/v1/rank", content=BODY, headers=JSON)
        live.http.post("/v1/rank", content=BODY, headers={**JSON, "traceparent": CALLER})

    assert unsampled.headers["traceresponse"].startswith(f"00-{TRACE}-")
    assert [answer.headers["traceresponse"][-2:] for answer in (unsampled, by_chance)] == ["00", "00"]
    assert len([span for span in collector.spans() if span.name == "POST /v1/rank"]) == 1


def test_a_failed_request_is_marked(settings: Settings, collector: Collector) -> None:
    """Status 5xx makes the span an error; a refusal of a bad request does not."""
    failing = {"on_history_failure": "unavailable", "redis_url": Settings(redis_url="unix:///nowhere.sock").redis_url}
    with traced(settings, collector, **failing) as live:
        live.http.post("/v1/rank", content=BODY, headers=JSON)
        live.http.post("/v1/rank", content=b"{", headers=JSON)
    requests = [span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER]
    codes = {attributes(span)["http.response.status_code"]: span.status.code for span in requests}

    assert codes == {503: Status.STATUS_CODE_ERROR, 422: Status.STATUS_CODE_UNSET}


def test_exemplars_lead_from_a_bucket_to_a_trace(settings: Settings, collector: Collector) -> None:
    """In OpenMetrics, the latency buckets name the trace of their last recorded request, and plain text stays plain."""
    with traced(settings, collector) as live:
        live.http.post("/v1/rank", content=BODY, headers={**JSON, "traceparent": CALLER})
        rich = live.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text
        plain = live.http.get("/metrics").text

    marked = {line.partition("{")[0] for line in rich.splitlines() if f'# {{trace_id="{TRACE}"}}' in line}
    assert marked == {"ranker_request_duration_seconds_bucket", "ranker_inference_duration_seconds_bucket"}
    assert TRACE not in plain


def test_a_collector_that_is_away_costs_no_answer(settings: Settings) -> None:
    """Requests are answered, and the service ends in time."""
    away = settings.model_copy(update={"tracing_endpoint": "http://127.0.0.1:9/v1/traces"})
    start = time.monotonic()
    with serving(away) as live:
        assert live.http.post("/v1/rank", content=BODY, headers=JSON).status_code == 200

    assert time.monotonic() - start < WAIT_SECONDS


def test_off_it_is_not_even_imported() -> None:
    """The whole service is imported without the extra's libraries. (redis-py and FastAPI look for parts of it.)"""
    heavy = ("opentelemetry.sdk.trace.export", "opentelemetry.exporter", "google.protobuf", "requests")
    code = f"import sys, service.app; sys.exit(any(name in sys.modules for name in {heavy}))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_off_the_callers_ids_still_reach_metrics(settings: Settings) -> None:
    """Who traces elsewhere finds our latencies by its trace; we claim no span of our own."""
    with serving(settings) as live:
        answer = live.http.post("/v1/rank", content=BODY, headers={**JSON, "traceparent": CALLER})
        rich = live.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text

    assert "traceresponse" not in answer.headers
    assert f'trace_id="{TRACE}"' in rich


async def test_without_the_extra_the_start_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, instead of an ImportError."""
    for name in [name for name in sys.modules if name.startswith("opentelemetry.sdk")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    asked = settings.model_copy(update={"tracing_endpoint": "http://127.0.0.1:9/v1/traces"})

    with pytest.raises(StartFailed, match=r"pip install 'rankonce\[tracing\]'"):
        async with open_service(asked, Readiness()):
            raise AssertionError("opened")
