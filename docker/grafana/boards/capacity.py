"""Capacity: how much room is left, and what runs out first?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .elements import INSTANCE, MODEL, RATE, SURFACE, Query, add, board, lines, number
from .quantities import REQUESTS, or_zero, per_second, quantile, share

HIGH = (0.5, 0.99)
PROCESS = f'{INSTANCE}, job="rankonce"'


def build() -> Dashboard:
    requests = per_second(REQUESTS, SURFACE, "mode")
    shed = or_zero(per_second(REQUESTS, f'{SURFACE}, outcome="shed"', "mode"), requests)
    dashboard = board("rankonce-capacity", "Capacity", "Permits, shed requests, threads, memory and collections.")
    add(
        dashboard,
        "Load",
        number(
            "In flight",
            "Ranking requests that hold a permit now.",
            "short",
            Query(f"sum by (mode) (ranker_inflight_requests{{{INSTANCE}}})", "{{mode}}"),
            span=8,
        ),
        number(
            "Shed",
            "Requests a second that found no permit (429) or were cut off at their deadline (504).",
            "reqps",
            Query(f"sum by (reason) (rate(ranker_shed_total{{{INSTANCE}}}{RATE}))", "{{reason}}"),
            span=8,
            bad_from=0.01,
        ),
        number(
            "CPU",
            "Cores that the service's processes use.",
            "short",
            Query(f"sum(rate(process_cpu_seconds_total{{{PROCESS}}}{RATE}))"),
            decimals=2,
        ),
        number(
            "Memory",
            "Resident memory of the service's processes.",
            "bytes",
            Query(f"sum(process_resident_memory_bytes{{{PROCESS}}})"),
        ),
        lines(
            "In flight by mode",
            "Sampled at each scrape. The limits are RANKER_AMORTIZED_PERMITS and RANKER_NON_AMORTIZED_PERMITS.",
            "short",
            Query(f"sum by (mode) (ranker_inflight_requests{{{INSTANCE}}})", "{{mode}}"),
        ),
        lines(
            "Shed ratio by mode",
            "Share of requests that found no permit. The alert fires above 1 %.",
            "percentunit",
            Query(share(shed, requests), "{{mode}}"),
            empty="no traffic",
            limits=(0.01,),
        ),
        lines(
            "Shed by reason",
            "permits: refused at once. deadline: cut off while it ran.",
            "reqps",
            Query(per_second("ranker_shed_total", INSTANCE, "reason"), "{{reason}}"),
        ),
        lines(
            "Busy inference",
            "Seconds of the ranker's work a second, by mode: which of them fills the inference threads.",
            "short",
            Query(per_second("ranker_inference_duration_seconds_sum", MODEL, "mode"), "{{mode}}"),
            empty="no inference in this range",
            stacked=True,
        ),
    )
    add(
        dashboard,
        "Queues",
        lines(
            "Inference threads",
            "Sampled at each scrape: threads at work, shadow comparisons included, and threads there are "
            "(RANKER_INFERENCE_THREADS).",
            "short",
            Query(f"sum(ranker_pool_busy_threads{{{INSTANCE}}})", "busy"),
            Query(f"sum(ranker_pool_threads{{{INSTANCE}}})", "all"),
        ),
        lines(
            "Waiting for a thread",
            "Sampled at each scrape: pieces of work that no inference thread has begun. Shadow comparisons wait apart.",
            "short",
            Query(f"sum by (instance) (ranker_pool_queue_depth{{{INSTANCE}}})", "{{instance}}"),
        ),
        lines(
            "Time in the queue",
            "How long work waited for an inference thread. It grows before requests are shed: the first sign that "
            "threads are short.",
            "s",
            *(Query(quantile(q, "ranker_pool_queue_duration_seconds", INSTANCE, ""), f"p{q * 100:g}") for q in HIGH),
            empty="no inference in this range",
        ),
        lines(
            "Event loop lag",
            "How much later than asked for the loop woke a sleeping task, ten times a second. Every request waits so "
            "long at each of its steps; a lag of milliseconds at p99 is a CPU that is short, or code that blocks.",
            "s",
            *(Query(quantile(q, "ranker_event_loop_lag_seconds", INSTANCE, ""), f"p{q * 100:g}") for q in HIGH),
        ),
        lines(
            "Redis connections",
            "Sampled at each scrape: connections that a call holds, as a share of the limit. At 1 a lookup waits.",
            "percentunit",
            Query(
                share(
                    f"sum by (instance) (ranker_redis_connections_in_use{{{INSTANCE}}})",
                    f"sum by (instance) (ranker_redis_connections_limit{{{INSTANCE}}})",
                ),
                "{{instance}}",
            ),
            limits=(1.0,),
        ),
    )
    add(
        dashboard,
        "Process",
        lines(
            "CPU",
            "Cores in use by instance.",
            "short",
            Query(per_second("process_cpu_seconds_total", PROCESS, "instance"), "{{instance}}"),
        ),
        lines(
            "Memory",
            "Resident memory, and what of it the kept encodings take.",
            "bytes",
            Query(f"process_resident_memory_bytes{{{PROCESS}}}", "{{instance}} resident"),
            Query(f"ranker_encoded_history_cache_bytes{{{INSTANCE}}}", "{{instance}} kept encodings"),
        ),
        lines(
            "Collections of garbage",
            "Runs of Python's collector a second, by generation. Generation 2 is what a p99 feels.",
            "cps",
            Query(per_second("python_gc_collections_total", PROCESS, "generation"), "generation {{generation}}"),
        ),
        lines(
            "Open files",
            "File descriptors, connections among them, as a share of the limit.",
            "percentunit",
            Query(
                f"process_open_fds{{{PROCESS}}} / process_max_fds{{{PROCESS}}}",
                "{{instance}}",
            ),
        ),
    )
    return dashboard
