"""Amortized vs non-amortized: what does encoding the history once save?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .elements import INSTANCE, MODEL, RANGE, RATE, TIMES, Query, add, board, density, lines, number
from .quantities import (
    COMPUTED,
    REQUESTS,
    inference_mean,
    inference_quantile,
    per_second,
    request_quantile,
    share,
)

MODES = (("amortized", "Amortized"), ("non_amortized", "Non-amortized"))
FAIR = (
    "Only inference that encoded the history for the request is compared (encoding=computed): kept encodings would "
    "flatter the amortized mode. The modes are compared fairly where both were sent the same requests."
)


def empty(mode: str) -> str:
    return f"no {mode.replace('_', '-')} inference in this range"


def speed_up(amortized: str, non_amortized: str) -> str:
    return f"({non_amortized}) / ({amortized})"


def speed_up_at(q: float, window: str) -> str:
    return speed_up(inference_quantile(q, "amortized", window), inference_quantile(q, "non_amortized", window))


def side_by_side() -> list[object]:
    panels: list[object] = [
        lines(
            f"{title}: p50 and p99",
            f"The ranker's own work on a request, waiting not included. {FAIR}",
            "s",
            Query(inference_quantile(0.5, mode), "{{surface}} p50"),
            Query(inference_quantile(0.99, mode), "{{surface}} p99"),
            empty=empty(mode),
        )
        for mode, title in MODES
    ]
    panels += [
        density(
            f"{title}: distribution",
            f"Requests by the ranker's own time. {FAIR}",
            "sum by (le) (increase(ranker_inference_duration_seconds_bucket"
            f'{{{MODEL}, mode="{mode}", {COMPUTED}}}{RATE}))',
            empty(mode),
        )
        for mode, title in MODES
    ]
    return panels


def build() -> Dashboard:
    dashboard = board(
        "rankonce-comparison",
        "Amortized vs non-amortized",
        "The two inference modes of the same weights, side by side.",
    )
    add(
        dashboard,
        "Speed-up in this range",
        number(
            "Speed-up at p50",
            f"Median of the non-amortized mode divided by that of the amortized mode. {FAIR}",
            TIMES,
            Query(speed_up_at(0.5, RANGE), "{{surface}}"),
            empty="needs both modes",
            span=6,
            decimals=1,
        ),
        number(
            "Speed-up at p99",
            f"The same at the 99th percentile. {FAIR}",
            TIMES,
            Query(speed_up_at(0.99, RANGE), "{{surface}}"),
            empty="needs both modes",
            span=6,
            decimals=1,
        ),
        *(
            number(
                f"{title}: CPU-seconds per 1,000",
                "Seconds that the ranker worked for 1,000 requests: CPU-seconds where an inference uses one core "
                f"(RANKER_INTRA_OP_THREADS=1, the default) and cores are not overcommitted. {FAIR}",
                "s",
                Query(f"1000 * {inference_mean(mode, RANGE)}", "{{surface}}"),
                empty=empty(mode),
                span=6,
            )
            for mode, title in MODES
        ),
    )
    add(dashboard, "Side by side", *side_by_side())
    add(
        dashboard,
        "Ratio and cost",
        lines(
            "Speed-up",
            f"Non-amortized divided by amortized, at p50, at p99 and of the means. {FAIR}",
            TIMES,
            Query(speed_up_at(0.5, RATE), "{{surface}} p50"),
            Query(speed_up_at(0.99, RATE), "{{surface}} p99"),
            Query(speed_up(inference_mean("amortized"), inference_mean("non_amortized")), "{{surface}} mean"),
            empty="needs both modes",
        ),
        lines(
            "CPU-seconds per 1,000 requests",
            "Seconds that the ranker worked for 1,000 requests: CPU-seconds where an inference uses one core "
            "(RANKER_INTRA_OP_THREADS=1, the default) and cores are not overcommitted. Logarithmic.",
            "s",
            *(Query(f"1000 * {inference_mean(mode)}", f"{{{{surface}}}} {mode}") for mode, _ in MODES),
            logarithmic=True,
        ),
        lines(
            "Whole requests",
            "What a caller waits for: histories read, waiting and ordering included, kept encodings used. Logarithmic.",
            "s",
            *(
                Query(request_quantile(q, mode), f"{{{{surface}}}} {mode} {name}")
                for mode, _ in MODES
                for q, name in ((0.5, "p50"), (0.99, "p99"))
            ),
            logarithmic=True,
        ),
        lines(
            "Inferences by mode and encoding",
            "How many requests stand behind the curves, a second. cached: a kept encoding was used; not compared.",
            "reqps",
            Query(
                per_second("ranker_inference_duration_seconds_count", MODEL, "mode, encoding"), "{{mode}} {{encoding}}"
            ),
            empty="no inference in this range",
        ),
        lines(
            "Process CPU-seconds per 1,000 requests",
            "All that the process did (JSON, Redis, collection of garbage, both modes) by ranking request.",
            "s",
            Query(
                "1000 * "
                + share(
                    per_second("process_cpu_seconds_total", f'{INSTANCE}, job="rankonce"', "instance"),
                    per_second(REQUESTS, INSTANCE, "instance"),
                ),
                "{{instance}}",
            ),
            empty="no traffic",
        ),
    )
    return dashboard
