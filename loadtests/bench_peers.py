"""`python -m loadtests.bench_peers [--quick] [--shape NAME ...]`: our service beside what else could serve the model.

The same TorchScript file behind Triton, a typical FastAPI service and the floor (peers/), and behind ours. One
generator process drives all of them over equal connections, by turns, with 1 and with 8 callers; every server has the
same two cores, generator and Redis have the machine's last. The peers get tensors, ours a member and ids. Answers of
every block are compared with the model's own. Ends in one line of JSON; how to read it: README.md here.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from loadtests.bench_bundles import Bundle, scratch
from loadtests.bench_peers_ours import Demand, Questions
from loadtests.bench_peers_sides import COLD, FLOOR, REDUCED, TRITON, TYPICAL, ZIPF, Side, Sides
from loadtests.bench_results import Result, at_least, by_part, not_measured, print_line, reported
from loadtests.bench_server import Cores
from loadtests.bench_shapes import LARGE, LONG, SHAPES, SMALL, ReferenceShape
from loadtests.latency import percentiles, shown
from loadtests.peers.closed_loop import Block, ClosedLoop
from loadtests.peers.triton import TritonMissing
from loadtests.timing import machine
from service.embedded_redis import EmbeddedRedis

CALLERS = (1, 8)
JUDGED = 8
"""Callers, of the aims: how fast one request at a time is, is row 3 of the performance targets."""

AIMS: dict[tuple[str, str], dict[str, float]] = {
    (COLD, FLOOR): {"small": 0.9, "large": 0.95},
    (ZIPF, FLOOR): {"large": 1.15, "long": 1.6},
    (REDUCED, FLOOR): {"large": 1.7, "long": 2.2},
    (COLD, TYPICAL): {"small": 7.0, "large": 7.0, "long": 7.0},
    (COLD, TRITON): {},
    (ZIPF, TRITON): {},
    (REDUCED, TRITON): {},
}
"""Requests a second ÷ the other's, at least, by shape; what has no target is reported."""

SERVER_CORES = 2
"""As many as the aims were set on."""

ENVIRONMENT = Path("build/peers/venv")
MATRIX_UNITS = "amx_bf16"


class Effort(NamedTuple):
    rounds: int
    seconds: float
    demand: Demand


FULL = Effort(5, 1.0, Demand(members=2000, requests=2500))
QUICK = Effort(2, 0.4, Demand(members=300, requests=400))

Measured = dict[str, dict[int, list[Block]]]
"""Blocks by side and number of callers."""


class Report(NamedTuple):
    """figures: by side · missing: why a side is not there · aims: value, target, met"""

    figures: dict[str, dict[str, Any]]
    missing: dict[str, str]
    aims: list[Result]


def compare(shape: ReferenceShape, effort: Effort, cores: Cores, environment: Path, cache_mb: int) -> Report:
    """Start every side, ask them by turns, and print the table."""
    missing: dict[str, str] = {}
    with scratch() as folder, EmbeddedRedis() as redis, contextlib.ExitStack() as stack:
        bundle = Bundle(shape, Path(folder) / "fp32")
        questions = Questions(bundle, redis.url, effort.demand)
        sides = Sides(questions, cores.server, stack)
        there = [sides.floor(), sides.typical()]
        try:
            there.append(sides.triton(environment, Path(folder) / "triton"))
        except (TritonMissing, RuntimeError) as error:
            missing[TRITON] = str(error)
        ours = sides.ours(redis.url, bundle, cache_mb)
        there += [sides.of_ours(COLD, ours, bundle), sides.of_ours(ZIPF, ours, bundle)]
        if MATRIX_UNITS in Path("/proc/cpuinfo").read_text():
            reduced = Bundle(shape, Path(folder) / "bf16", precision="bf16")
            server = sides.ours(redis.url, reduced, cache_mb)
            there.append(sides.of_ours(REDUCED, server, reduced))
        else:
            missing[REDUCED] = f"this processor has no {MATRIX_UNITS}"
        warm_up(there, questions, effort)
        before = {side.name: side.cache_events() for side in there}
        measured = ask_by_turns(there, effort)
        figures = {side.name: figures_of(side, measured[side.name], before[side.name]) for side in there}
    print_table(shape, figures, missing)
    return Report(figures, missing, aims(shape, measured, missing))


def warm_up(there: list[Side], questions: Questions, effort: Effort) -> None:
    """Specialise every server's model on its threads, and fill our caches as the traffic itself would."""
    for side in there:
        if side.name in (ZIPF, REDUCED):
            with contextlib.closing(ClosedLoop(side.serving.url, max(CALLERS))) as loop:
                loop.run(questions.warming(), float("inf"))
        run(side, max(CALLERS), effort.seconds)


def ask_by_turns(there: list[Side], effort: Effort) -> Measured:
    """Every round asks every side with each number of callers; every second one goes through them backwards."""
    measured: Measured = {side.name: {callers: [] for callers in CALLERS} for side in there}
    turns = list(itertools.product(there, CALLERS))
    for number in range(effort.rounds):
        for side, callers in turns if number % 2 == 0 else reversed(turns):
            measured[side.name][callers].append(run(side, callers, effort.seconds))
    return measured


def run(side: Side, callers: int, seconds: float) -> Block:
    """One block, and the last answer of each caller judged once the clock has stopped."""
    with contextlib.closing(ClosedLoop(side.serving.url, callers)) as loop:
        block = loop.run(side.asks, seconds)
    for reply in block.replies:
        side.judge(reply)
    return block


def figures_of(side: Side, blocks: dict[int, list[Block]], before: dict[str, float]) -> dict[str, Any]:
    """What the table and the JSON say of a side. hits: share of the requests that found a kept encoding."""
    figures: dict[str, Any] = {"memory_mb": round(side.memory_mb())}
    for callers in CALLERS:
        found = percentiles([seconds * 1e3 for block in blocks[callers] for seconds in block.latencies])
        rate = round(float(np.median([block.rate for block in blocks[callers]])), 1)
        figures[str(callers)] = {"requests_per_second": rate, "p50_ms": found["p50"], "p99_ms": found["p99"]}
    after = side.cache_events()
    counts = {event: count - before.get(event, 0.0) for event, count in after.items()}
    if side.name != COLD and sum(counts.values()):
        looked = sum(counts.get(event, 0.0) for event in ("hit", "shared", "miss"))
        figures["hits"] = round(counts.get("hit", 0.0) / looked, 3)
    return figures


def aims(shape: ReferenceShape, measured: Measured, missing: Mapping[str, str]) -> list[Result]:
    """What is demanded at this shape, and beside it what is not: one caller, and Triton."""
    results = []
    for ((side, other), targets), callers in itertools.product(AIMS.items(), CALLERS):
        target = targets.get(shape.name) if callers == JUDGED else None
        row = f"{side} / {other}, {shape.name}, {callers} caller{'s' if callers > 1 else ''}"
        lacking = [missing[name] for name in (side, other) if name in missing]
        if lacking:
            results.append(not_measured(row, target, lacking[0]))
            continue
        value = ratio(measured[side][callers], measured[other][callers])
        results.append(reported(row, value) if target is None else at_least(row, value, target))
    return results


def ratio(blocks: list[Block], others: list[Block]) -> float:
    """Requests a second ÷ those of the other side in the same round (machines drift): the median over the rounds."""
    return float(np.median([block.rate / other.rate for block, other in zip(blocks, others, strict=True)]))


def print_table(shape: ReferenceShape, figures: dict[str, dict[str, Any]], missing: dict[str, str]) -> None:
    for callers in CALLERS:
        print(f"\n{shape}, {callers} caller{'s' if callers > 1 else ''}")
        print(f"  {'':20s}{'req/s':>9s}{'x floor':>9s}{'p50 ms':>9s}{'p99 ms':>9s}{'MB':>8s}{'hits':>7s}")
        floor_rate = figures[FLOOR][str(callers)]["requests_per_second"]
        for name, found in figures.items():
            at = found[str(callers)]
            rate = at["requests_per_second"]
            print(
                f"  {name:20s}{rate:9.1f}{rate / floor_rate:9.2f}{shown(at['p50_ms']):>9s}{shown(at['p99_ms']):>9s}"
                f"{found['memory_mb']:8d}{shown(found.get('hits')):>7s}"
            )
    for name, reason in missing.items():
        print(f"  {name}: not measured: {reason}")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter blocks")
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="instead of small, large and long")
    parser.add_argument("--peers", type=Path, default=ENVIRONMENT, help="the environment that holds Triton")
    parser.add_argument("--server-cores", type=int, default=SERVER_CORES, help="of those that the generator leaves")
    parser.add_argument("--cache-mb", type=int, default=4096, help="bound of our cache of encoded histories")
    options = parser.parse_args(arguments)
    shapes = [SHAPES[name] for name in options.shape] if options.shape else [SMALL, LARGE, LONG]
    effort = QUICK if options.quick else FULL
    here, divided = machine(), Cores.divided()
    cores = Cores(frozenset(sorted(divided.server)[: options.server_cores]), divided.generator)
    os.sched_setaffinity(0, cores.generator)  # and, by inheritance, Redis
    torch.set_num_threads(1)
    print(f"{here}; servers on {len(cores.server)} of the cores, generator and Redis on {len(cores.generator)}")
    reports = {shape.name: compare(shape, effort, cores, options.peers, options.cache_mb) for shape in shapes}
    line = {
        "machine": here,
        "server_cores": len(cores.server),
        "cache_mb": options.cache_mb,
        "figures": {name: {**report.figures, **dict.fromkeys(report.missing)} for name, report in reports.items()},
        "missing": {name: report.missing for name, report in reports.items()},
        "aims": by_part(aim for report in reports.values() for aim in report.aims),
    }
    print_line(line)
    return line


if __name__ == "__main__":
    main()
