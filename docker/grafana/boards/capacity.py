"""Capacity: how much room is left, and what runs out first?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .elements import INSTANCE, MODEL, RATE, SURFACE, Query, add, board, lines, number
from .quantities import REQUESTS, or_zero, per_second, share

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
            "Seconds of the ranker's work a second: how many inference threads are busy. At RANKER_INFERENCE_THREADS "
            "requests begin to wait.",
            "short",
            Query(per_second("ranker_inference_duration_seconds_sum", MODEL, "mode"), "{{mode}}"),
            empty="no inference in this range",
            stacked=True,
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
