"""Ranking overview: is the service well, and if not, for whom?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .elements import INSTANCE, RATE, SURFACE, TIMES, Query, add, board, lines, number
from .quantities import ANSWERED, FAILED, OURS, REQUESTS, or_zero, per_second, quantile, request_quantile, share

QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


def error_ratio(by: str) -> str:
    ours = per_second(REQUESTS, f"{SURFACE}, {OURS}", by)
    return share(or_zero(per_second(REQUESTS, f"{SURFACE}, {FAILED}", by), ours), ours)


def latency(mode: str) -> list[Query]:
    return [Query(request_quantile(q, mode), f"{{{{surface}}}} {name}") for q, name in QUANTILES]


def build() -> Dashboard:
    dashboard = board(
        "rankonce-overview", "Ranking overview", "Rate, errors and latency of ranking requests, and the SLO."
    )
    add(
        dashboard,
        "Now",
        number(
            "Requests",
            "Ranking requests a second, whatever became of them.",
            "reqps",
            Query(f"sum(rate({REQUESTS}{{{SURFACE}}}{RATE})) or vector(0)"),
        ),
        number(
            "Errors",
            "Share of requests that failed through no fault of the caller: store or model unavailable, ranker failed, "
            "deadline passed. Shed requests are counted apart (Capacity).",
            "percentunit",
            Query(
                share(
                    f"(sum(rate({REQUESTS}{{{SURFACE}, {FAILED}}}{RATE})) or vector(0))",
                    f"sum(rate({REQUESTS}{{{SURFACE}, {OURS}}}{RATE}))",
                )
            ),
            empty="no traffic",
            bad_from=0.01,
        ),
        number(
            "p99, amortized",
            "99 % of amortized requests were answered within this time, waiting included.",
            "s",
            Query(quantile(0.99, "ranker_request_duration_seconds", f'{SURFACE}, mode="amortized", {ANSWERED}', "")),
            empty="no traffic",
            bad_from=0.128,
        ),
        number(
            "SLO budget burn, 1 h",
            "How fast the latency budget of the worst surface is being used: at 1 it lasts exactly 30 days, at 14.4 "
            "two days. SLO: 99 % of amortized requests are answered within 128 ms.",
            TIMES,
            Query('max(surface:ranker_latency_slo:burnrate1h{surface=~"$surface"})'),
            empty="no traffic",
            bad_from=1.0,
            decimals=2,
        ),
        number(
            "Ready",
            "Instances that take requests.",
            "short",
            Query(f"sum(ranker_ready{{{INSTANCE}}}) or vector(0)"),
        ),
        number(
            "Bundles",
            "Which bundle serves each surface now.",
            "short",
            Query(f"max by (surface, version) (ranker_bundle_info{{{SURFACE}}})", "{{surface}} {{version}}"),
            empty="none",
            names=True,
        ),
    )
    add(
        dashboard,
        "Rate and errors",
        lines(
            "Requests by surface and mode",
            "Ranking requests a second.",
            "reqps",
            Query(per_second(REQUESTS, SURFACE, "surface, mode"), "{{surface}} {{mode}}"),
        ),
        lines(
            "Requests by outcome",
            "How requests ended. degraded: ranked as a cold start, because the history could not be read. cancelled: "
            "the caller went away.",
            "reqps",
            Query(per_second(REQUESTS, SURFACE, "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Error ratio by surface",
            "Failures through no fault of the caller. The alert fires above 1 %.",
            "percentunit",
            Query(error_ratio("surface"), "{{surface}}"),
            empty="no traffic",
            limits=(0.01,),
        ),
        lines(
            "HTTP answers",
            "Every route, by status. Scrapes of /metrics are among them.",
            "reqps",
            Query(per_second("ranker_http_requests_total", INSTANCE, "route, status"), "{{status}} {{route}}"),
        ),
    )
    add(
        dashboard,
        "Latency and SLO",
        lines(
            "Latency by surface, amortized",
            "Answered requests from decoded body to answer. The dashed line is the SLO's threshold.",
            "s",
            *latency("amortized"),
            empty="no amortized requests in this range",
            limits=(0.128,),
        ),
        lines(
            "Latency by surface, non-amortized",
            "The same of requests that asked for the non-amortized mode; no SLO is kept for them.",
            "s",
            *latency("non_amortized"),
            empty="no non-amortized requests in this range",
        ),
        lines(
            "SLO budget burn",
            "Misses of the latency SLO relative to what the budget allows. Alerts: above 14.4 over 1 h and 5 min, "
            "above 6 over 6 h and 30 min, above 1 over 3 d and 6 h.",
            TIMES,
            *(
                Query(
                    f'surface:ranker_latency_slo:burnrate{window}{{surface=~"$surface"}}', f"{{{{surface}}}} {window}"
                )
                for window in ("5m", "1h", "6h")
            ),
            empty="no traffic",
            limits=(1.0, 6.0, 14.4),
        ),
        lines(
            "Candidates and history length",
            "What the callers ask for: candidates of a request, actions read of a member's history.",
            "short",
            *(
                Query(quantile(q, metric, SURFACE, "surface"), f"{{{{surface}}}} {name} {label}")
                for metric, name in (("ranker_candidates", "candidates"), ("ranker_history_length", "history"))
                for q, label in ((0.5, "p50"), (0.95, "p95"))
            ),
        ),
    )
    add(
        dashboard,
        "Events and bundles",
        lines(
            "Actions stored",
            "Member actions that POST /v1/events has appended, a second.",
            "cps",
            Query(f"sum(rate(ranker_events_appended_total{{{INSTANCE}}}{RATE}))", "actions"),
        ),
        lines(
            "Bundle loads",
            "Attempts to let a bundle serve, in five minutes. refused: the one before serves on, and "
            "`python -m service models` says why.",
            "short",
            Query(
                f"sum by (surface, result) (increase(ranker_bundle_loads_total{{{SURFACE}}}[5m]))",
                "{{surface}} {{result}}",
            ),
        ),
    )
    return dashboard
