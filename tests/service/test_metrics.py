"""Metrics: what is counted, under which labels, and how many series there can be."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import get_args

import pytest

from service.encoded import EncodedHistoryCache
from service.metrics import LATENCY_BUCKETS, ROUTES, Metrics
from service.observation import Encoding, Outcome, RankObservation, Shed
from service.redis_calls import MAX_CONNECTIONS
from service.schemas import Candidate, Event, Mode, RankRequest
from service.settings import Settings
from service.stages import StageClock
from tests.live import Live


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def observation(mode: Mode = "amortized", outcome: Outcome = "ok", encoding: Encoding | None = None) -> RankObservation:
    clock = StageClock()
    clock.seconds = {"history": 0.001, "score": 0.002}
    return RankObservation(
        surface="feed",
        mode=mode,
        candidates=100,
        outcome=outcome,
        model_version="3",
        lookup="found",
        history_length=24,
        encoding=encoding,
        inference_seconds=0.004,
        total_seconds=0.01,
        clock=clock,
    )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_buckets_resolve_the_fast_mode_and_hold_the_slow_one() -> None:
    """From 0.25 ms in steps of √2 to beyond both deadlines."""
    defaults = Settings()

    assert LATENCY_BUCKETS[0] == 0.00025
    assert LATENCY_BUCKETS[-1] > max(
        60.0, defaults.amortized_deadline_ms / 1e3, defaults.non_amortized_deadline_ms / 1e3
    )
    assert all(high / low == pytest.approx(2**0.5) for low, high in pairwise(LATENCY_BUCKETS))


def test_a_ranking_is_counted_once_in_everything(metrics: Metrics) -> None:
    """Duration, inference, stages, candidates, length and lookup, each with its own labels."""
    metrics.ranked(observation(encoding="cached"))

    feed = {"surface": "feed"}
    assert value(metrics, "ranker_request_duration_seconds_sum", **feed, mode="amortized", outcome="ok") == 0.01
    inference = {"mode": "amortized", "surface": "feed", "model_version": "3", "encoding": "cached"}
    assert value(metrics, "ranker_inference_duration_seconds_sum", **inference) == 0.004
    assert value(metrics, "ranker_stage_duration_seconds_sum", stage="score", mode="amortized") == 0.002
    assert value(metrics, "ranker_stage_duration_seconds_count", stage="encode", mode="amortized") == 0
    assert value(metrics, "ranker_candidates_sum", **feed) == 100
    assert value(metrics, "ranker_history_length_sum", **feed) == 24
    assert value(metrics, "ranker_history_lookups_total", result="found") == 1


def test_the_non_amortized_mode_counts_as_computed(metrics: Metrics) -> None:
    """It computes the encoding for every candidate, so the headline comparison has it under the same label."""
    metrics.ranked(observation(mode="non_amortized"))

    labels = {"mode": "non_amortized", "surface": "feed", "model_version": "3", "encoding": "computed"}
    assert value(metrics, "ranker_inference_duration_seconds_count", **labels) == 1


@pytest.mark.parametrize(("outcome", "reason"), [("shed", "permits"), ("shed", "wait"), ("deadline", "deadline")])
def test_what_was_not_served_is_counted_by_reason(metrics: Metrics, outcome: Outcome, reason: Shed) -> None:
    """A request without a permit, and one that ran out of time; its duration is observed all the same."""
    metrics.ranked(RankObservation("ads", "amortized", 5, outcome, shed=reason, total_seconds=1.0))

    assert value(metrics, "ranker_shed_total", reason=reason) == 1
    labels = {"surface": "ads", "mode": "amortized", "outcome": outcome}
    assert value(metrics, "ranker_request_duration_seconds_count", **labels) == 1


def test_hostile_paths_make_no_series(metrics: Metrics) -> None:
    """Whatever is asked for, the routes are the labels."""
    for i in range(1000):
        metrics.answered(f"/v1/{i}", 404)
    metrics.answered(None, 404)
    metrics.answered("/v1/rank", 200)

    assert value(metrics, "ranker_http_requests_total", route="other", status="404") == 1001
    assert value(metrics, "ranker_http_requests_total", route="/v1/rank", status="200") == 1
    text = metrics.exposition("")[0].decode()
    assert len(re.findall(r"^ranker_http_requests_total", text, re.MULTILINE)) == 2


def test_label_values_come_from_closed_sets(metrics: Metrics) -> None:
    """Every combination of outcomes and encodings stays within what can be drawn."""
    for mode in get_args(Mode):
        for outcome in get_args(Outcome):
            for encoding in get_args(Encoding):
                metrics.ranked(observation(mode, outcome, encoding))
    series = [line for line in metrics.exposition("")[0].decode().splitlines() if line.startswith("ranker_")]

    assert len(series) < 2500
    assert set(ROUTES) >= {"/v1/rank", "/v1/events"}


def test_every_metric_has_help(metrics: Metrics) -> None:
    """A dashboard's author need not guess."""
    assert [family.name for family in metrics.registry.collect() if not family.documentation] == []


def test_series_are_there_before_the_first_event(metrics: Metrics) -> None:
    """A rate over a counter that springs into being misses its first event."""
    assert value(metrics, "ranker_history_lookups_total", result="damaged") == 0
    assert value(metrics, "ranker_shed_total", reason="permits") == 0
    assert value(metrics, "ranker_encoded_history_cache_events_total", event="eviction") == 0


def test_gauges_read_what_they_watch(metrics: Metrics) -> None:
    """Cache, permits and readiness are read when they are asked for."""
    metrics.watch_cache(EncodedHistoryCache(100, metrics.cache_event))
    metrics.watch_inflight(lambda mode: 3 if mode == "amortized" else 1)
    metrics.watch_readiness(lambda: True)

    assert value(metrics, "ranker_encoded_history_cache_bytes") == 0
    assert value(metrics, "ranker_inflight_requests", mode="amortized") == 3
    assert value(metrics, "ranker_inflight_requests", mode="non_amortized") == 1
    assert value(metrics, "ranker_ready") == 1


def test_process_platform_and_gc_are_there(metrics: Metrics) -> None:
    """The usual panels of a Python process find their series."""
    names = {family.name for family in metrics.registry.collect()}

    assert {"process_cpu_seconds", "python_info", "python_gc_collections"} <= names


def test_a_running_service_counts_both_modes(live: Live) -> None:
    """One request in each mode and one event are seen on /metrics under the right labels."""
    candidates = [Candidate(f"item-{i}") for i in range(1, 8)]
    inference = {"surface": "feed", "model_version": "1", "encoding": "computed"}
    name = "ranker_inference_duration_seconds_count"
    before = {mode: live.metric(name, mode=mode, **inference) for mode in get_args(Mode)}
    appended = live.metric("ranker_events_appended_total")

    live.client.append_events("counted", [Event("item-1", "view", 1), Event("item-2", "view", 2)], "key")
    live.client.append_events("counted", [Event("item-1", "view", 1), Event("item-2", "view", 2)], "key")
    for mode in get_args(Mode):
        live.client.rank(RankRequest("counted", "feed", candidates, mode=mode))

    for mode in get_args(Mode):
        assert live.metric(name, mode=mode, **inference) == before[mode] + 1
    assert live.metric("ranker_events_appended_total") == appended + 2
    assert live.metric("ranker_http_requests_total", route="/v1/events", status="200") >= 2
    assert live.metric("ranker_ready") == 1


def test_a_running_service_tells_its_loops_lag_and_its_redis_connections(live: Live) -> None:
    """The lag is sampled without a request; the connections are known, and not more than the limit."""
    give_up = time.monotonic() + 30.0
    while live.metric("ranker_event_loop_lag_seconds_count") < 2 and time.monotonic() < give_up:
        time.sleep(0.05)

    assert live.metric("ranker_event_loop_lag_seconds_count") >= 2
    assert live.metric("ranker_redis_connections_limit") == MAX_CONNECTIONS
    assert live.metric("ranker_redis_connections_in_use") == 0
    assert live.metric("ranker_store_cut_off") == 0
    assert live.metric("ranker_event_loop_tasks") >= 1


def test_a_running_service_tells_how_its_threads_fare(live: Live) -> None:
    """Each ranking waits once for an inference thread, be it microseconds; afterwards nothing waits or works."""
    before = live.metric("ranker_pool_queue_duration_seconds_count")
    live.client.rank(RankRequest("queued", "feed", [Candidate("item-1")], mode="non_amortized"))

    assert live.metric("ranker_pool_queue_duration_seconds_count") == before + 1
    assert live.metric("ranker_pool_queue_duration_seconds_sum") > 0
    assert live.metric("ranker_pool_threads") == live.settings.inference_threads
    assert live.metric("ranker_pool_queue_depth") == 0


def test_hostile_requests_make_no_series(live: Live) -> None:
    """However many members, items, paths, methods, ids and versions are thrown at it, the series stay as they were."""

    def hostile(tag: str) -> None:
        headers = {"x-request-id": tag, "traceparent": f"00-{tag:a>32}-{tag:b>16}-01", "x-rankonce-shadow": "0"}
        ask = {"member_id": tag, "surface": "feed", "candidates": [{"id": tag}]}
        for mode in ("amortized", "non_amortized", tag):
            live.http.post("/v1/rank", json=ask | {"mode": mode}, headers=headers)
        live.http.post("/v1/rank", json=ask | {"surface": tag}, headers=headers)
        live.http.post("/v1/rank", json=ask | {"model_version": tag, "context": {tag: 1.0}}, headers=headers)
        event = {"item_id": tag, "action": "view", "timestamp": 1}
        live.http.post("/v1/events", json={"member_id": tag, "events": [event]}, headers=headers)
        live.http.post("/v1/events", json={"member_id": tag, "events": [event | {"action": tag}]}, headers=headers)
        live.http.get(f"/v1/members/{tag}/history", headers=headers)
        for method in ("GET", "PUT", "PATCH", "OPTIONS"):
            live.http.request(method, f"/{tag}", headers=headers)
            live.http.request(method, "/v1/rank", headers=headers)

    def series() -> set[str]:
        text = live.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text
        return {line.split(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    for tag in ("0", "1"):  # the second finds the cold start's encoding kept
        hostile(tag)
    before = series()
    for number in range(2, 40):
        hostile(f"{number:x}")

    assert series() == before
