"""`make panels`: the service and a real Prometheus, load in both modes, then every panel with its expression and value.

Exits with 1 if a panel is empty, or if Prometheus and the generator disagree on how many requests there were or how
long they took. It does not know what the panels mean.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, get_args

import httpx

from loadtests.catalog import read_catalog
from loadtests.dashboards import Expression, expressions
from loadtests.prometheus import Prometheus, PrometheusFailed, Sample, prometheus
from loadtests.serving import ServiceFailed, find_models, serving
from loadtests.workload import Call, Plan, Workload
from service.schemas import Mode, Surface

RATE_INTERVAL = "20s"
RANGE = "5m"
SETTLE_SECONDS = 10.0  # longest wait for the last scrape
TOLERANCE = 2.0
"""A histogram knows a quantile to its bucket, √2 wide, and ranks of two estimates may differ by one: two buckets."""

SHADOW = {"RANKER_SHADOW_FRACTION": "1"}
"""Every request is run again in both modes, as far as threads are idle: the panels of the comparison have data."""

Kind = tuple[Surface, Mode]


@dataclass
class Tally:
    """What the generator saw of one kind of request. seconds: as it waited; stages: as Server-Timing added up."""

    seconds: list[float] = field(default_factory=list)
    stages: list[float] = field(default_factory=list)


class Panel(NamedTuple):
    """An expression and what Prometheus made of it."""

    expression: Expression
    filled: str
    samples: list[Sample]

    @property
    def empty(self) -> bool:
        return all(math.isnan(sample.value) for sample in self.samples)


class Agreement(NamedTuple):
    """Generator against Prometheus for one kind of request; medians in seconds."""

    kind: Kind
    sent: int
    counted: int
    stages_p50: float
    prometheus_p50: float
    client_p50: float

    @property
    def holds(self) -> bool:
        """Same count; and a request takes longer than its stages and shorter than its caller's wait."""
        low, high = self.stages_p50 / TOLERANCE, self.client_p50 * TOLERANCE
        return self.sent == self.counted and low <= self.prometheus_p50 <= high


def mixed_calls(workload: Workload) -> Iterator[Call]:
    """Both surfaces and modes in turn, the amortized with and without kept encodings, without end."""
    kinds = [
        itertools.cycle(workload.calls(surface, mode, reuse_encoding=reuse))
        for surface in get_args(Surface)
        for mode, reuse in (("amortized", True), ("amortized", False), ("non_amortized", True))
    ]
    return (next(calls) for calls in itertools.cycle(kinds))


def drive(url: str, calls: Iterator[Call], seconds: float) -> dict[Kind, Tally]:
    """One request at a time for so long. Raises httpx.HTTPStatusError if one is not answered with a ranking."""
    tallies: dict[Kind, Tally] = {}
    end = time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=60.0, headers={"content-type": "application/json"}) as http:
        while time.monotonic() < end:
            call = next(calls)
            start = time.perf_counter()
            answer = http.post("/v1/rank", content=call.body)
            waited = time.perf_counter() - start
            answer.raise_for_status()
            tally = tallies.setdefault((call.surface, call.mode), Tally())
            tally.seconds.append(waited)
            tally.stages.append(stage_seconds(answer.headers["server-timing"]))
    return tallies


def stage_seconds(server_timing: str) -> float:
    """All stages together: `history;dur=0.2, score;dur=3.1` → 0.0033."""
    return sum(float(stage.partition(";dur=")[2]) for stage in server_timing.split(",")) / 1e3


def settle(source: Prometheus, tallies: dict[Kind, Tally]) -> dict[Kind, int]:
    """Wait until Prometheus has scraped the last request; returns how many it knows of, by kind."""
    wanted = {kind: len(tally.seconds) for kind, tally in tallies.items()}
    give_up = time.monotonic() + SETTLE_SECONDS
    while True:
        samples = source.ask("sum by (surface, mode) (ranker_request_duration_seconds_count)")
        counted = {(s.labels["surface"], s.labels["mode"]): int(s.value) for s in samples if s.value}
        if counted == wanted or time.monotonic() > give_up:
            return counted  # type: ignore[return-value]  # the labels are those of Kind
        time.sleep(0.2)


def compare(source: Prometheus, tallies: dict[Kind, Tally]) -> list[Agreement]:
    counted = settle(source, tallies)
    median = "histogram_quantile(0.5, sum by (surface, mode, le) (ranker_request_duration_seconds_bucket))"
    medians = {(s.labels["surface"], s.labels["mode"]): s.value for s in source.ask(median)}
    return [
        Agreement(
            kind,
            len(tally.seconds),
            counted.get(kind, 0),
            statistics.median(tally.stages),
            medians.get(kind, math.nan),
            statistics.median(tally.seconds),
        )
        for kind, tally in sorted(tallies.items())
    ]


def evaluate(source: Prometheus) -> list[Panel]:
    """Every panel's expressions, as Prometheus answers them now."""
    asked = [(expression, expression.filled(RATE_INTERVAL, RANGE)) for expression in expressions()]
    return [Panel(expression, filled, source.ask(filled)) for expression, filled in asked]


def show(panels: list[Panel], agreements: list[Agreement]) -> None:
    for title, group in itertools.groupby(panels, key=lambda panel: panel.expression.dashboard):
        print(f"\n{title}\n{'=' * len(title)}")
        for panel in group:
            print(f"\n{panel.expression.panel} [{panel.expression.ref}]\n  {panel.filled}")
            for sample in panel.samples[:8]:
                labels = ", ".join(f"{name}={value}" for name, value in sample.labels.items() if name != "__name__")
                print(f"    {sample.value:<12.6g} {labels}")
            if len(panel.samples) > 8:
                print(f"    … {len(panel.samples)} series")
            if panel.empty:
                print("    EMPTY")
    print("\nrequests              sent  counted  p50 ms: stages  Prometheus  caller")
    for a in agreements:
        medians = f"{a.stages_p50 * 1e3:14.2f}  {a.prometheus_p50 * 1e3:10.2f}  {a.client_p50 * 1e3:6.2f}"
        print(f"{' '.join(a.kind):<20} {a.sent:5d}  {a.counted:7d}  {medians}  {'' if a.holds else 'DISAGREE'}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.panels", description=__doc__)
    parser.add_argument("--models", type=Path, help="model repository; default: the demo's, or a quick one is trained")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long load is put on the service")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    options = parser.parse_args()
    models = find_models(options.models)
    workload = Workload(read_catalog(models), Plan(options.seed, members=200, requests=500))
    try:
        with serving(models, workload, **SHADOW) as service, prometheus(service.url) as source:
            agreements = compare(source, drive(service.url, mixed_calls(workload), options.seconds))
            panels = evaluate(source)
    except (ServiceFailed, PrometheusFailed) as error:
        sys.exit(f"refused: {error}")
    show(panels, agreements)
    empty = [f"{panel.expression.dashboard}: {panel.expression.panel}" for panel in panels if panel.empty]
    odd = [" ".join(agreement.kind) for agreement in agreements if not agreement.holds]
    print(f"\n{len(panels)} expressions, {len(empty)} empty; {len(agreements)} kinds of requests, {len(odd)} disagree")
    for name in empty:
        print(f"empty: {name}", file=sys.stderr)
    return 1 if empty or odd else 0


if __name__ == "__main__":
    sys.exit(main())
