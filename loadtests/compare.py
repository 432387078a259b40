"""`make compare`: the same requests in both inference modes, by turns, one table and a picture.

Three variants of one seeded list of requests are sent in alternating blocks over the same connections: amortized with
every history encoded anew (the comparison of the modes), amortized as it is served, with kept encodings, and
non-amortized. Nothing may be shed, degraded or wrong. The last line is JSON. It does not know how either mode works.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from loadtests.catalog import read_catalog
from loadtests.checks import Outcome, judge
from loadtests.connection import Connection, loopback
from loadtests.latency import percentiles, shown
from loadtests.openloop import run
from loadtests.plot import Curve, draw_comparison
from loadtests.serving import Service, ServiceFailed, find_models, serving
from loadtests.shapes import find_data
from loadtests.workload import Call, Plan, Workload
from service.schemas import Mode

COLUMNS = ("p50", "p95", "p99")
MOST_CONCURRENCY = 2  # the non-amortized mode has four permits: nothing may be shed
MOST_REQUESTS = 20_000
PLOT = "compare.svg"
WIDTHS = (9, 9, 9, 9, 12)


@dataclass
class Variant:
    """One way to answer. milliseconds: latencies, in the order of `sizes`, the requests' candidate counts · kept: how
    many answers came from an encoding at hand · seconds, cpu_seconds: over all its blocks."""

    name: str
    mode: Mode
    reuse_encoding: bool
    milliseconds: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    kept: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def kept_share(self) -> float:
        return self.kept / len(self.milliseconds)

    def figures(self) -> dict[str, float | None]:
        count, found = len(self.milliseconds), percentiles(self.milliseconds)
        return {
            **{column: found[column] for column in COLUMNS},
            "requests_per_second": round(count / self.seconds, 2),
            "cpu_seconds_per_1000": round(1000.0 * self.cpu_seconds / count, 3),
        }


class Fault(Exception):
    """An answer that was not right: the comparison is worth nothing."""


def variants() -> list[Variant]:
    """The baseline last: ratios are against it."""
    return [
        Variant("amortized", "amortized", reuse_encoding=False),
        Variant("amortized, encodings kept", "amortized", reuse_encoding=True),
        Variant("non-amortized", "non_amortized", reuse_encoding=False),
    ]


def blocks(requests: int, block: int, count: int) -> Iterator[tuple[int, range]]:
    """(variant, requests) in the order to send them: each variant gets every request once, and its turn comes first,
    second and last equally often."""
    for turn, start in enumerate(range(0, requests, block)):
        for place in range(count):
            yield (turn + place) % count, range(start, min(start + block, requests))


async def measure(service: Service, workload: Workload, surface: Any, options: argparse.Namespace) -> list[Variant]:
    """Send everything. Raises Fault at the first answer that is not right."""
    compared = variants()
    calls = [workload.calls(surface, each.mode, reuse_encoding=each.reuse_encoding) for each in compared]
    address = loopback(service.url)
    connections = [await Connection.open(address) for _ in range(options.concurrency)]
    try:
        for each in calls:  # pages, allocators and branch predictors have met every path before the clock starts
            await _block(connections, each[: options.block], None)
        for index, part in blocks(options.requests, options.block, len(compared)):
            variant = compared[index]
            cpu, began = service.cpu_seconds(), time.perf_counter()
            await _block(connections, [calls[index][request] for request in part], variant)
            variant.seconds += time.perf_counter() - began
            variant.cpu_seconds += service.cpu_seconds() - cpu
    finally:
        for connection in connections:
            connection.close()
    return compared


async def _block(connections: list[Connection], calls: list[Call], variant: Variant | None) -> None:
    """Every call once, as many at a time as there are connections."""
    waiting = iter(calls)

    async def work(connection: Connection) -> None:
        for call in waiting:
            sent = time.perf_counter()
            answer = await connection.rank(call.body)
            outcome, fault, kept = judge(call, answer.status, answer.body)
            if outcome is not Outcome.answered:
                raise Fault(f"{call.mode}: {outcome}: {fault}")
            if variant is not None:
                variant.milliseconds.append(1e3 * (answer.at - sent))
                variant.sizes.append(len(call.candidates))
                variant.kept += kept

    await asyncio.gather(*map(work, connections))


def ratios(variant: dict[str, float | None], baseline: dict[str, float | None]) -> dict[str, float | None]:
    """How many times better than the baseline, whatever the figure: above 1 is faster, or cheaper."""
    found: dict[str, float | None] = {}
    for name, value in variant.items():
        against = baseline[name]
        if not value or not against:
            found[name] = None
        else:
            found[name] = round(value / against if name == "requests_per_second" else against / value, 2)
    return found


def report(compared: list[Variant], options: argparse.Namespace, setup: dict[str, Any]) -> None:
    """The table and the JSON line."""
    figures = {variant.name: variant.figures() for variant in compared}
    baseline = figures[compared[-1].name]
    against = {name: ratios(each, baseline) for name, each in figures.items()}
    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in setup.items()) + "\n")
    print(f"{'':<26}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'req/s':>9}{'CPU-s/1000':>12}")
    for name, each in figures.items():
        print(f"{name:<26}{_row([shown(value) for value in each.values()])}")
    for name, each in list(against.items())[:-1]:
        label = "times better, " + ("kept" if "kept" in name else "anew")
        print(f"{label:<26}{_row([f'{shown(value)}x' for value in each.values()])}")
    print("\nanswers from a kept encoding: " + ", ".join(f"{each.name} {each.kept_share:.0%}" for each in compared))
    plot = str(options.out / PLOT)
    print(f"plot: {plot}")
    kept = {each.name: round(each.kept_share, 3) for each in compared}
    facts = {**setup, "kept_share": kept, "variants": figures, "ratio": against, "plot": plot}
    print(msgspec.json.encode(facts).decode(), flush=True)


def _row(cells: list[str]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


def main() -> int:
    options = _options()
    models, data = find_models(options.models), find_data(options.data)
    catalog = read_catalog(models)
    plan = Plan(options.seed, requests=options.requests, data=data, candidates=options.candidates)
    workload = Workload(catalog, plan)
    try:
        with serving(models, workload) as service:
            compared = run(measure(service, workload, options.surface, options))
    except (Fault, OSError, ServiceFailed) as error:
        sys.exit(f"refused: {error}")
    counts = workload.shapes.candidates
    setup = {
        "surface": options.surface,
        "requests": options.requests,
        "concurrency": options.concurrency,
        "cores": len(os.sched_getaffinity(0)),
        "seed": options.seed,
        "shapes": workload.shapes.source if options.candidates is None else "fixed",
        "candidates_mean": options.candidates or round(float(counts.mean()), 1),
        "history_mean": round(float(workload.shapes.history.mean()), 1),
        "models": str(models),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    curves = [Curve(each.name, each.milliseconds, each.sizes) for each in compared]
    draw_comparison(curves, f"{options.surface}, {options.requests} requests each", options.out / PLOT)
    report(compared, options, setup)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.compare", description=__doc__)
    parser.add_argument("--surface", choices=("feed", "ads"), default="feed")
    parser.add_argument("--requests", type=int, default=900, help="of each variant")
    parser.add_argument("--block", type=int, default=50, help="requests until the next variant's turn")
    parser.add_argument("--concurrency", type=int, choices=range(1, MOST_CONCURRENCY + 1), default=1)
    parser.add_argument("--candidates", type=int, help="so many in each request, instead of MIND's counts")
    parser.add_argument("--models", type=Path, help="model repository; default: the demo's, or a quick one is trained")
    parser.add_argument("--data", type=Path, help="folder with mind_sample/ to replay; default: RANKONCE_DATA")
    parser.add_argument("--out", type=Path, default=Path("build/compare"), help="where the plot goes")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    options = parser.parse_args()
    if not 1 <= options.requests <= MOST_REQUESTS:
        parser.error(f"--requests must be 1 to {MOST_REQUESTS}")
    return options


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
