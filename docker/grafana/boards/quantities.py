"""Quantities: the PromQL of what several dashboards show. It does not know how any of it is drawn."""

from __future__ import annotations

from .elements import INSTANCE, MODEL, RATE, SURFACE

REQUESTS = "ranker_request_duration_seconds_count"
ANSWERED = 'outcome=~"ok|degraded"'
FAILED = 'outcome=~"unavailable|failed|deadline"'
OURS = 'outcome!~"invalid|cancelled"'
"""Requests whose end was in the service's hands: not refused for their content, not given up by their caller."""
COMPUTED = 'encoding="computed"'
"""Inference that encoded the history for this very request: the only fair comparison of the modes."""


def per_second(series: str, selector: str, by: str, window: str = RATE) -> str:
    """A counter's growth a second, summed over everything but `by`."""
    return f"sum by ({by}) (rate({series}{{{selector}}}{window}))"


def share(part: str, whole: str) -> str:
    """part ÷ whole, and nothing at all where there is no whole."""
    return f"{part} / ({whole} > 0)"


def or_zero(part: str, whole: str) -> str:
    """`part`, or zero for every group that `whole` has: events that never happened have no series."""
    return f"({part} or 0 * {whole})"


def quantile(q: float, histogram: str, selector: str, by: str, window: str = RATE) -> str:
    """The q-quantile by `by`, estimated within a bucket; absent (not NaN) where nothing was observed."""
    buckets = per_second(f"{histogram}_bucket", selector, f"le, {by}" if by else "le", window)
    return f"histogram_quantile({q}, {buckets}) >= 0"


def request_quantile(q: float, mode: str) -> str:
    """Latency of answered requests by surface."""
    return quantile(q, "ranker_request_duration_seconds", f'{SURFACE}, mode="{mode}", {ANSWERED}', "surface")


def inference_quantile(q: float, mode: str, window: str = RATE) -> str:
    """Latency of the ranker's own work by surface, the history encoded for the request."""
    selector = f'{MODEL}, mode="{mode}", {COMPUTED}'
    return quantile(q, "ranker_inference_duration_seconds", selector, "surface", window)


def inference_mean(mode: str, window: str = RATE) -> str:
    """Mean seconds of the ranker's own work by surface."""
    selector = f'{MODEL}, mode="{mode}", {COMPUTED}'
    metric = "ranker_inference_duration_seconds"
    total = per_second(f"{metric}_sum", selector, "surface", window)
    return share(total, per_second(f"{metric}_count", selector, "surface", window))


SHADOW = "ranker_shadow_inference_duration_seconds"


def shadow_quantile(q: float, mode: str, window: str = RATE) -> str:
    """Latency by surface of requests that were run again in both modes: the same requests for either."""
    return quantile(q, SHADOW, f'{SURFACE}, mode="{mode}"', "surface", window)


def shadow_seconds(mode: str, window: str = RATE) -> str:
    """Seconds of work a second on requests run again, by surface."""
    return per_second(f"{SHADOW}_sum", f'{SURFACE}, mode="{mode}"', "surface", window)


def shadow_mean(mode: str, window: str = RATE) -> str:
    """Mean seconds by surface of requests run again."""
    selector = f'{SURFACE}, mode="{mode}"'
    return share(shadow_seconds(mode, window), per_second(f"{SHADOW}_count", selector, "surface", window))


def cache_events(events: str, window: str = RATE) -> str:
    """Events of the encoded-history cache a second."""
    return f'sum(rate(ranker_encoded_history_cache_events_total{{{INSTANCE}, event=~"{events}"}}{window}))'
