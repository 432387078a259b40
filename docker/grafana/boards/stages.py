"""Stages and cache: where does a request's time go, and what do kept encodings save?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .elements import INSTANCE, MODEL, RATE, Query, add, board, lines, number
from .quantities import cache_events, per_second, quantile, share

MODES = (("amortized", "amortized"), ("non_amortized", "non-amortized"))
STAGE = "ranker_stage_duration_seconds"


def mean_stage(mode: str) -> str:
    selector = f'{INSTANCE}, mode="{mode}"'
    return share(per_second(f"{STAGE}_sum", selector, "stage"), per_second(f"{STAGE}_count", selector, "stage"))


def history_quantile(q: float) -> str:
    return quantile(q, STAGE, f'{INSTANCE}, stage="history"', "")


def build() -> Dashboard:
    dashboard = board(
        "rankonce-stages", "Stages and cache", "Where a request's time goes, the encoded-history cache and Redis."
    )
    add(
        dashboard,
        "Stages",
        *(
            lines(
                f"Mean stage times, {title}",
                "Mean time of each stage, stacked. history: the round trip to Redis. assemble: inputs to arrays. "
                "encode: the history, once. score: the candidates. order: calibration and sorting. Waiting for an "
                "inference thread is included.",
                "s",
                Query(mean_stage(mode), "{{stage}}"),
                empty=f"no {title} requests in this range",
                stacked=True,
            )
            for mode, title in MODES
        ),
        *(
            lines(
                f"p99 of each stage, {title}",
                "The 99th percentile of each stage by itself; they do not add up to that of the request. Logarithmic.",
                "s",
                Query(quantile(0.99, STAGE, f'{INSTANCE}, mode="{mode}"', "stage"), "{{stage}}"),
                empty=f"no {title} requests in this range",
                logarithmic=True,
            )
            for mode, title in MODES
        ),
    )
    add(
        dashboard,
        "Encoded-history cache",
        number(
            "Hit ratio",
            "Share of wanted encodings that were at hand, or that another request was just computing.",
            "percentunit",
            Query(share(cache_events("hit|shared"), cache_events("hit|shared|miss"))),
            empty="not asked yet",
        ),
        number(
            "Kept",
            "Encoded histories in memory.",
            "short",
            Query(f"sum(ranker_encoded_history_cache_entries{{{INSTANCE}}}) or vector(0)"),
        ),
        number(
            "Memory",
            "What they take. The limit is RANKER_ENCODED_CACHE_BYTES.",
            "bytes",
            Query(f"sum(ranker_encoded_history_cache_bytes{{{INSTANCE}}}) or vector(0)"),
        ),
        lines(
            "Hit ratio over time",
            "A falling ratio with evictions says that the cache is too small for the members in play.",
            "percentunit",
            Query(share(cache_events("hit|shared"), cache_events("hit|shared|miss")), "hit ratio"),
            empty="no lookups in this range",
        ),
        lines(
            "Cache events",
            "hit: kept and current. shared: waited for another request's encode. miss: encoded. eviction: made room.",
            "cps",
            Query(per_second("ranker_encoded_history_cache_events_total", INSTANCE, "event"), "{{event}}"),
        ),
        lines(
            "Prefetches",
            "encoded: computed ahead. cached: was at hand or on its way. absent: no history. dropped: too many were "
            "under way (RANKER_PREFETCH_PENDING), or no thread could be spared. failed: Redis or the ranker did.",
            "cps",
            Query(per_second("ranker_prefetch_total", INSTANCE, "result"), "{{result}}"),
            stacked=True,
        ),
        lines(
            "Inferences by encoding",
            "Amortized inferences a second by where the encoded history came from.",
            "reqps",
            Query(
                per_second("ranker_inference_duration_seconds_count", f'{MODEL}, mode="amortized"', "encoding"),
                "{{encoding}}",
            ),
            empty="no amortized inference in this range",
            stacked=True,
        ),
        lines(
            "Cache memory",
            "Memory of kept encodings by instance.",
            "bytes",
            Query(f"ranker_encoded_history_cache_bytes{{{INSTANCE}}}", "{{instance}}"),
        ),
    )
    add(
        dashboard,
        "Redis",
        lines(
            "History lookups",
            "found: sent over. unchanged: the kept encoding is current, nothing was sent. absent: a cold start. "
            "unavailable, damaged: ranked as a cold start, or answered 503 (RANKER_ON_HISTORY_FAILURE).",
            "cps",
            Query(per_second("ranker_history_lookups_total", INSTANCE, "result"), "{{result}}"),
            stacked=True,
        ),
        lines(
            "Round trip",
            "Time of the history stage: one script call to Redis, and decoding.",
            "s",
            Query(history_quantile(0.5), "p50"),
            Query(history_quantile(0.99), "p99"),
            empty="no lookups in this range",
        ),
        lines(
            "Failed lookups",
            "Share of lookups that Redis did not answer, or answered with damaged bytes. The alert fires above 1 %.",
            "percentunit",
            Query(
                share(
                    f'sum(rate(ranker_history_lookups_total{{{INSTANCE}, result=~"unavailable|damaged"}}{RATE}))',
                    f"sum(rate(ranker_history_lookups_total{{{INSTANCE}}}{RATE}))",
                ),
                "failed",
            ),
            empty="no lookups in this range",
            limits=(0.01,),
        ),
        lines(
            "Unchanged",
            "Share of found histories that needed no transfer, because their encoding was kept.",
            "percentunit",
            Query(
                share(
                    f'sum(rate(ranker_history_lookups_total{{{INSTANCE}, result="unchanged"}}{RATE}))',
                    f'sum(rate(ranker_history_lookups_total{{{INSTANCE}, result=~"found|unchanged"}}{RATE}))',
                ),
                "unchanged",
            ),
            empty="no lookups in this range",
        ),
    )
    return dashboard
