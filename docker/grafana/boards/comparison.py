"""Amortized vs non-amortized: what does encoding the history once save?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .elements import INSTANCE, MODEL, RANGE, RATE, SURFACE, TIMES, Query, add, board, density, lines, number
from .quantities import (
    COMPUTED,
    REQUESTS,
    inference_mean,
    inference_quantile,
    per_second,
    quantile,
    request_quantile,
    shadow_mean,
    shadow_quantile,
    shadow_seconds,
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


PAIRED = (
    "Both modes ran the very same requests, each with an encoding of its own, on one thread that nobody needed. "
    "RANKER_SHADOW_FRACTION says which share of the answered requests is run again."
)
UNPAIRED = "no pairs: RANKER_SHADOW_FRACTION is 0, or no thread was free"


def shadow() -> list[object]:
    difference = "ranker_shadow_logit_difference"
    return [
        number(
            "Speed-up over the same requests",
            f"Time of the non-amortized runs divided by that of the amortized ones. {PAIRED}",
            TIMES,
            Query(share(shadow_seconds("non_amortized", RANGE), shadow_seconds("amortized", RANGE)), "{{surface}}"),
            empty="no pairs",
            span=6,
            decimals=1,
        ),
        number(
            "Pairs",
            f"Requests that were compared in this range. {PAIRED}",
            "short",
            Query(f"sum by (surface) (increase(ranker_shadow_pairs_total{{{SURFACE}}}{RANGE}))", "{{surface}}"),
            span=6,
            decimals=0,
        ),
        number(
            "Parity broken",
            "Compared requests in this range whose logits differ by more than the tolerance (1e-5 · max(1, |logit|) in "
            "float32, the bundle's own otherwise), or that one mode could not score. The alert fires on the first.",
            "short",
            Query(f"sum by (surface) (increase(ranker_shadow_parity_broken_total{{{SURFACE}}}{RANGE}))", "{{surface}}"),
            span=6,
            bad_from=0.5,
            decimals=0,
        ),
        number(
            "Largest difference",
            "Of two logits of one candidate, as a share of max(1, |logit|), in this range: the bound of its bucket. "
            "The answer that was sent is compared as well, so a wrong kept encoding would show.",
            "sci",
            Query(quantile(1.0, difference, SURFACE, "surface", RANGE), "{{surface}}"),
            empty="no pairs",
            span=6,
        ),
        lines(
            "The same requests: p50 and p99",
            f"{PAIRED} Logarithmic.",
            "s",
            *(
                Query(shadow_quantile(q, mode), f"{{{{surface}}}} {mode} {name}")
                for mode, _ in MODES
                for q, name in ((0.5, "p50"), (0.99, "p99"))
            ),
            empty=UNPAIRED,
            logarithmic=True,
        ),
        lines(
            "CPU-seconds per 1,000 of the same requests",
            f"{PAIRED} A run keeps to its thread, so its time is CPU time. Logarithmic.",
            "s",
            *(Query(f"1000 * {shadow_mean(mode)}", f"{{{{surface}}}} {mode}") for mode, _ in MODES),
            empty=UNPAIRED,
            logarithmic=True,
        ),
        lines(
            "Differences of logits",
            "Of one candidate's logits between both modes and the answer, as a share of max(1, |logit|). The line is "
            "float32's tolerance. Logarithmic.",
            "sci",
            Query(quantile(0.5, difference, SURFACE, "surface"), "{{surface}} p50"),
            Query(quantile(1.0, difference, SURFACE, "surface"), "{{surface}} largest"),
            empty=UNPAIRED,
            logarithmic=True,
            limits=(1e-5,),
        ),
        lines(
            "Order of both modes",
            "Compared requests a second. same: one order. tied: only scores that the tolerance cannot tell apart are "
            "swapped. different: more than that.",
            "reqps",
            Query(per_second("ranker_shadow_pairs_total", SURFACE, "order"), "{{order}}"),
            stacked=True,
        ),
        lines(
            "Not compared",
            "Chosen requests a second that were dropped. queue_full, busy, preempted: the threads were needed. "
            "history: it changed meanwhile, or could not be read. stopping: the service ended.",
            "reqps",
            Query(per_second("ranker_shadow_dropped_total", INSTANCE, "reason"), "{{reason}}"),
        ),
    ]


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
                "Seconds that the ranker worked for 1,000 requests: CPU-seconds where an inference keeps to one thread "
                f"(RANKER_INTRA_OP_THREADS=1, or no thread is idle) and cores are not overcommitted. {FAIR}",
                "s",
                Query(f"1000 * {inference_mean(mode, RANGE)}", "{{surface}}"),
                empty=empty(mode),
                span=6,
            )
            for mode, title in MODES
        ),
    )
    add(dashboard, "Side by side", *side_by_side())
    add(dashboard, "The same requests in both modes", *shadow())
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
            "Seconds that the ranker worked for 1,000 requests: CPU-seconds where an inference keeps to one thread "
            "(RANKER_INTRA_OP_THREADS=1, or no thread is idle) and cores are not overcommitted. Logarithmic.",
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
