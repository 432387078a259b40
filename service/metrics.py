"""Metrics: every metric's name, help, labels and buckets. It does not know what it measures; only this file,
bundle_metrics.py and shadow_metrics.py know Prometheus.

Label values come from closed sets (surfaces, modes, outcomes, stages, routes) and from the versions of loaded bundles,
never from a request, so the number of series is bounded. Children are looked up once and kept: `labels()` takes a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

from service.bundle_metrics import BundleMetrics
from service.encoded import CacheEvent, EncodedHistoryCache
from service.histories import Connections, HistoryStore
from service.observation import Encoding, LookupResult, RankObservation, Shed
from service.prefetch import PrefetchResult
from service.schemas import Mode, Surface
from service.shadow_metrics import ShadowMetrics
from service.stages import STAGES
from service.threads import ThreadPool

LATENCY_BUCKETS = tuple(2.5e-4 * 2 ** (k / 2) for k in range(37))
"""0.25 ms to 65.5 s in steps of √2, in seconds: beyond the longest deadline, and dense, since Prometheus guesses
within a bucket."""
COUNT_BUCKETS = tuple(float(2**k) for k in range(15))
"""1 to 16,384."""
LENGTH_BUCKETS = (0.0, *(float(2**k) for k in range(13)))
"""0 (cold start) to 4,096 actions."""
ROUTES = (
    "/v1/rank",
    "/v1/prefetch",
    "/v1/events",
    "/v1/members/{member_id}/history",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{name}",
    "/v2/models/{name}/ready",
    "/v2/repository/index",
    "/v2/repository/models/{name}/load",
    "/v2/repository/models/{name}/unload",
    "/v2/repository/models/{name}/rollback",
    "/dashboard",
    "/dashboard/data",
    "/dashboard/playground",
    "/dashboard/assets/{name}",
)
OTHER_ROUTE = "other"

_MODES: tuple[Mode, ...] = get_args(Mode)
_SURFACES: tuple[Surface, ...] = get_args(Surface)
_ENCODING_OF_NON_AMORTIZED: Encoding = "computed"  # it computes the encoding for every candidate


class Metrics:
    """One registry and everything in it. A `RankObserver`. Event-loop only, but for `exposition`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        request_seconds = Histogram(
            "ranker_request_duration_seconds",
            "Ranking requests from decoded body to answer, by how they ended",
            ("surface", "mode", "outcome"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        inference_seconds = Histogram(
            "ranker_inference_duration_seconds",
            "The ranker's own work on a request, waiting not included; compare the modes at encoding=computed",
            ("mode", "surface", "model_version", "encoding"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        stage_seconds = Histogram(
            "ranker_stage_duration_seconds",
            "Wall time of a request's stages, waiting included",
            ("stage", "mode"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        candidates = Histogram(
            "ranker_candidates",
            "Candidates a ranking request carried",
            ("surface",),
            buckets=COUNT_BUCKETS,
            registry=registry,
        )
        history_length = Histogram(
            "ranker_history_length",
            "Actions the ranker read of a member's history; 0 is a cold start",
            ("surface",),
            buckets=LENGTH_BUCKETS,
            registry=registry,
        )
        lookups = Counter(
            "ranker_history_lookups",
            "History reads by what the store said; unchanged = the kept encoding is current",
            ("result",),
            registry=registry,
        )
        shed = Counter(
            "ranker_shed",
            "Ranking requests not served to their end, by what ran out; event_loop: before anything was read of them",
            ("reason",),
            registry=registry,
        )
        cache_events = Counter(
            "ranker_encoded_history_cache_events",
            "Encoded-history cache: hit, shared (waited for another request's encode), miss, eviction",
            ("event",),
            registry=registry,
        )
        prefetches = Counter(
            "ranker_prefetch",
            "Prefetches by what became of them: encoded, cached (was at hand or on its way), absent, dropped, failed",
            ("result",),
            registry=registry,
        )
        self._cache_bytes = Gauge(
            "ranker_encoded_history_cache_bytes", "Memory that kept encoded histories take", registry=registry
        )
        self._cache_entries = Gauge("ranker_encoded_history_cache_entries", "Encoded histories kept", registry=registry)
        self._inflight = Gauge(
            "ranker_inflight_requests", "Ranking requests that hold a permit now", ("mode",), registry=registry
        )
        self._events = Counter("ranker_events_appended", "Member actions stored", registry=registry)
        self._ready = Gauge("ranker_ready", "1 while the service takes requests, else 0", registry=registry)
        self._loop_lag = Histogram(
            "ranker_event_loop_lag_seconds",
            "How much later than asked for the event loop woke a task that slept",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._loop_tasks = Gauge("ranker_event_loop_tasks", "Tasks that the event loop has now", registry=registry)
        self._queue_seconds = Histogram(
            "ranker_pool_queue_duration_seconds",
            "How long work waited for an inference thread; shadow comparisons not included",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._pool = {
            name: Gauge(f"ranker_pool_{name}", text, registry=registry)
            for name, text in (
                ("queue_depth", "Pieces of work that wait for an inference thread now"),
                ("busy_threads", "Inference threads that work now"),
                ("threads", "Inference threads"),
            )
        }
        self._redis_in_use = Gauge(
            "ranker_redis_connections_in_use", "Redis connections that a call holds now", registry=registry
        )
        self._redis_limit = Gauge(
            "ranker_redis_connections_limit", "Redis connections that there may be at most", registry=registry
        )
        self._store_cut_off = Gauge(
            "ranker_store_cut_off",
            "1 while the circuit breaker keeps calls from a history store that has stopped answering",
            registry=registry,
        )
        http = Counter(
            "ranker_http_requests",
            "HTTP requests by route and status; 499 = the caller went away first",
            ("route", "status"),
            registry=registry,
        )

        self._request_seconds = cache(request_seconds.labels)
        self._inference_seconds = cache(inference_seconds.labels)
        self._stage_seconds = cache(stage_seconds.labels)
        self._candidates = cache(candidates.labels)
        self._history_length = cache(history_length.labels)
        self._lookups = cache(lookups.labels)
        self._shed = cache(shed.labels)
        self._cache_events = cache(cache_events.labels)
        self._prefetches = cache(prefetches.labels)
        self._http = cache(http.labels)
        self.bundles = BundleMetrics(registry)
        self.shadow = ShadowMetrics(registry, LATENCY_BUCKETS)
        self._show_zeros()

    def ranked(self, observation: RankObservation) -> None:
        """Count one ranking request, however it ended."""
        seen = observation
        exemplar = {"trace_id": seen.trace_id} if seen.trace_id else None
        self._request_seconds(seen.surface, seen.mode, seen.outcome).observe(seen.total_seconds, exemplar)
        self._candidates(seen.surface).observe(seen.candidates)
        for stage, seconds in seen.clock.seconds.items():
            self._stage_seconds(stage, seen.mode).observe(seconds)
        if seen.lookup is not None:
            self._lookups(seen.lookup).inc()
        if seen.history_length is not None:
            self._history_length(seen.surface).observe(seen.history_length)
        if seen.inference_seconds is not None and seen.model_version is not None:
            encoding = seen.encoding or _ENCODING_OF_NON_AMORTIZED
            self._inference_seconds(seen.mode, seen.surface, seen.model_version, encoding).observe(
                seen.inference_seconds, exemplar
            )
        if seen.shed is not None:
            self._shed(seen.shed).inc()

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def queued(self, seconds: float) -> None:
        """Work has waited so long for a thread. May be called from any thread."""
        self._queue_seconds.observe(seconds)

    def answered(self, route: str | None, status: int) -> None:
        """Count one HTTP answer. Paths that are no route of ours share one label."""
        self._http(route if route in ROUTES else OTHER_ROUTE, str(status)).inc()

    def turned_away(self, route: str, status: int) -> None:
        """Count one ranking request that was refused before it was decoded."""
        self._shed("event_loop").inc()
        self.answered(route, status)

    def cache_event(self, event: CacheEvent) -> None:
        self._cache_events(event).inc()

    def prefetched(self, result: PrefetchResult) -> None:
        self._prefetches(result).inc()

    def events_appended(self, count: int) -> None:
        self._events.inc(count)

    def watch_cache(self, encoded: EncodedHistoryCache) -> None:
        self._cache_bytes.set_function(lambda: encoded.bytes)
        self._cache_entries.set_function(lambda: len(encoded))

    def watch_inflight(self, in_flight: Callable[[Mode], int]) -> None:
        for mode in _MODES:
            self._inflight.labels(mode).set_function(partial(in_flight, mode))

    def watch_pool(self, pool: ThreadPool, threads: int) -> None:
        self._pool["threads"].set(threads)
        self._pool["queue_depth"].set_function(lambda: pool.waiting)
        self._pool["busy_threads"].set_function(lambda: pool.busy)

    def watch_stores(self, stores: Mapping[str, HistoryStore]) -> None:
        def connections() -> list[Connections]:
            """Asked on another thread: the list is made in one step, since stores come and go."""
            return [store.connections() for store in list(stores.values())]

        self._redis_in_use.set_function(lambda: sum(each.in_use for each in connections()))
        self._redis_limit.set_function(lambda: sum(each.limit for each in connections()))
        self._store_cut_off.set_function(lambda: float(any(each.cut_off for each in connections())))

    def watch_tasks(self, tasks: Callable[[], int]) -> None:
        self._loop_tasks.set_function(tasks)

    def watch_readiness(self, ready: Callable[[], bool]) -> None:
        self._ready.set_function(lambda: float(ready()))

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text and its content type, OpenMetrics where `accept` prefers it. Slow: run it on a thread."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def samples(self, names: Iterable[str]) -> list[tuple[str, Mapping[str, str], float]]:
        """The samples of these names as plain values, their labels included. Slow: run it on a thread."""
        families = self.registry.restricted_registry(list(names)).collect()
        return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]

    def _show_zeros(self) -> None:
        """Series that exist before their first event, so that rates and alerts see it."""
        for mode in _MODES:
            for surface in _SURFACES:
                self._request_seconds(surface, mode, "ok")
            for stage in STAGES:
                if (stage, mode) != ("encode", "non_amortized"):
                    self._stage_seconds(stage, mode)
        for result in get_args(LookupResult):
            self._lookups(result)
        for event in get_args(CacheEvent):
            self._cache_events(event)
        for prefetch in get_args(PrefetchResult):
            self._prefetches(prefetch)
        for reason in (*get_args(Shed), "event_loop"):
            self._shed(reason)
