"""`python -m loadtests.bench_http [--quick]`: what the service adds to the model, and what it saves.

Rows 3, 4, 7, 8, 9, 10 and 11 of the performance targets (README.md here): a real service process on cores of its own,
a real Redis and the generator on another, the bare model in turns with it. Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from loadtests.bench_floor import Floor, floor
from loadtests.bench_load import poisson, saturate
from loadtests.bench_queue import p99_sojourn
from loadtests.bench_results import Result, at_least, at_most, by_part, not_measured, print_line, reported, show
from loadtests.bench_server import Cores, on
from loadtests.bench_shapes import LARGE, LONG, SMALL, WIDE, ReferenceShape
from loadtests.bench_subject import MICROBATCH, Bare, Place, Subject, subject
from loadtests.timing import machine, median, p99
from service.bodies import BodyDecoder
from service.embedded_redis import EmbeddedRedis
from service.schemas import RankRequest, RankResponse

PREFETCH_SECONDS = 0.05
LOAD = 0.7
FEWEST_CORES = 3
MLPERF_MS = 80
FLOOR = "FastAPI, tensors and this model, nothing else"
COUNTS = (MICROBATCH, 2_048, 4_096, 8_192, 16_384)


class Effort(NamedTuple):
    """rounds: turns of each side · block: requests in a turn · seconds: of open-loop load · tail: requests for p99."""

    rounds: int
    block: int
    seconds: float
    tail: int


FULL = Effort(12, 40, 20.0, 600)
QUICK = Effort(4, 20, 4.0, 150)


def overhead(there: Subject, beside: Floor, bare: Bare, target: float, effort: Effort) -> Iterator[Result]:
    """Row 3: by turns, so that drift cancels; the median of the turns' ratios. The floor's is reported beside it."""
    asked = {"service": there.cold, "floor": beside.times, "bare": bare.times}
    ratios: dict[str, list[float]] = {"service": [], "floor": []}
    seconds: dict[str, list[float]] = {side: [] for side in asked}
    for turn in range(effort.rounds):
        times = {side: asked[side](effort.block) for side in (asked if turn % 2 == 0 else reversed(asked))}
        for side, of_turns in ratios.items():
            of_turns.append(median(times[side]) / median(times["bare"]))
        for side, taken in times.items():
            seconds[side] += taken
    http, least, alone = (1e3 * median(seconds[side]) for side in asked)
    note = f"HTTP p50 {http:.2f} ms, p99 {1e3 * p99(seconds['service']):.2f} ms; bare {alone:.2f} ms"
    yield at_most(f"3 {there.shape.name}", median(ratios["service"]), target, note)
    yield reported(f"3 {there.shape.name} floor", median(ratios["floor"]), f"p50 {least:.2f} ms: {FLOOR}")


class Saturated(NamedTuple):
    """Answers a second."""

    service: float
    floor: float


def saturation(there: Subject, beside: Floor, bare: Bare, effort: Effort) -> tuple[list[Result], Saturated]:
    """Row 4, and the rates that it was found from. The floor has the same threads and callers."""
    threads = len(there.cores.server)
    rates: dict[str, list[float]] = {"service": [], "floor": []}
    shares: dict[str, list[float]] = {"service": [], "floor": []}
    for _ in range(max(3, effort.rounds // 2)):
        alone = median(bare.times(effort.block))
        for side, url, bodies in (
            ("service", there.server.url, there.bodies),
            ("floor", beside.url, [beside.body]),
        ):
            rates[side].append(saturate(url, bodies, 2 * threads, 4 * threads * effort.block))
            shares[side].append(rates[side][-1] * alone / threads)
    there.chill()
    found = Saturated(median(rates["service"]), median(rates["floor"]))
    if threads + 1 < FEWEST_CORES:
        return [not_measured("4 large", 0.92, f"not applicable below {FEWEST_CORES} cores")], found
    note = f"{found.service:.0f} answers/s on {threads} cores, {2 * threads} at once"
    return [
        at_least("4 large", median(shares["service"]), 0.92, note),
        reported("4 large floor", median(shares["floor"]), f"{found.floor:.0f} answers/s: {FLOOR}"),
    ], found


def tail(there: Subject, beside: Floor, saturated: Saturated, effort: Effort) -> Iterator[Result]:
    """Row 8. The service time is that of a request alone, everything included; the load is a share of its own rate."""
    threads = len(there.cores.server)

    def ratio(url: str, bodies: list[bytes], rate: float, alone: float) -> tuple[float | None, str]:
        seen = poisson(url, bodies, rate, effort.seconds, seed=8)
        try:
            ideal = p99_sojourn(rate, alone, threads)
        except ValueError as error:  # alone it was slower than in a crowd: the machine had other things to do
            return None, str(error)
        note = f"p99 {1e3 * p99(seen.latencies):.1f} ms of {len(seen.latencies)} at {rate:.0f}/s"
        return p99(seen.latencies) / ideal, f"{note}, M/D/{threads} {1e3 * ideal:.1f} ms; generator {seen.busy:.0%}"

    value, note = ratio(there.server.url, there.bodies, LOAD * saturated.service, median(there.cold(2 * effort.block)))
    there.chill()
    yield not_measured("8 large", 1.3, note) if value is None else at_most("8 large", value, 1.3, note)
    value, note = ratio(beside.url, [beside.body], LOAD * saturated.floor, median(beside.times(2 * effort.block)))
    note = f"{note}: {FLOOR}"
    yield not_measured("8 large floor", None, note) if value is None else reported("8 large floor", value, note)


def prefetched(there: Subject, target: float, effort: Effort) -> Result:
    """Row 11: by turns a cold rank, and one whose member was prefetched 50 ms before. Both follow the same pause."""
    cold, ahead = [], []
    for _ in range(effort.rounds * effort.block // 4):
        time.sleep(PREFETCH_SECONDS)
        cold += there.cold(1)
        member, body = there.next()
        hint = msgspec.json.encode({"member_id": member, "surface": "feed"})
        if there.client.post(hint, "/v1/prefetch").status != 202:
            raise RuntimeError("the prefetch was refused")
        time.sleep(PREFETCH_SECONDS)
        ahead.append(there.ask(body, "cache", "store"))  # from the store: the prefetch was late, and is waited for
    note = f"cold {1e3 * median(cold):.2f} ms, prefetched {1e3 * median(ahead):.2f} ms"
    return at_most(f"11 {there.shape.name}", median(ahead) / median(cold), target, note)


def many_candidates(there: Subject, effort: Effort) -> Iterator[Result]:
    """Row 7 over HTTP: peak resident memory by number of candidates, and time for each of them."""
    peaks, each = {}, {}
    for count in COUNTS:
        first, *bodies = [there.bundle.body(there.next()[0], count) for _ in range(1 + effort.rounds)]
        there.ask(first, "store")
        there.server.forget_peak()
        each[count] = median([there.ask(body, "store") for body in bodies]) / count
        peaks[count] = there.server.peak_mb()
    few, most = COUNTS[1], COUNTS[-1]
    yield at_most("7 http", each[most] / each[few], 1.1, f"µs each: {_by_count(each, 1e6)}")
    yield at_most("7 memory", peaks[most] / peaks[few], 1.1, f"peak MB: {_by_count(peaks, 1)}")


def conversion(there: Subject, effort: Effort) -> Iterator[Result]:
    """Row 9: in this process, with the service's own decoder and types, on what went over the wire."""
    for name, features in (("ids", False), ("features", True)):
        requests, converting = [], []
        decoder, encoder = BodyDecoder(RankRequest), msgspec.json.Encoder()
        for _ in range(effort.rounds):
            bodies = [there.bundle.body(there.next()[0], features=features) for _ in range(effort.block // 2)]
            requests += [there.ask(body, "store") for body in bodies]
            answer = msgspec.json.decode(there.client.post(bodies[-1]).body, type=RankResponse)
            with on(there.cores.server):
                for body in bodies:
                    start = time.perf_counter()
                    decoder.decode(body)
                    encoder.encode(answer)
                    converting.append(time.perf_counter() - start)
        note = f"{1e3 * median(converting):.2f} of {1e3 * median(requests):.1f} ms, C={there.shape.candidates}"
        yield at_most(f"9 {name}", median(converting) / median(requests), 0.05, note)


def warm_tail(there: Subject, candidates: int, effort: Effort) -> Result:
    """Row 10: the same member again."""
    body = there.bundle.body(there.members[0], candidates)
    there.client.post(body)
    seconds = [there.ask(body, "cache") for _ in range(effort.tail)]
    note = f"C={candidates}, p50 {1e3 * median(seconds):.1f} ms of {len(seconds)}; MLPerf DLRMv3 allows {MLPERF_MS} ms"
    return reported("10 http p99 ms", 1e3 * p99(seconds), note)


def rows(place: Place, effort: Effort) -> Iterator[Result]:
    yield from at_large(LARGE, place, effort)
    with subject(SMALL, place) as small, floor(small) as beside:
        yield from overhead(small, beside, Bare(SMALL, place.cores), 1.5, effort)
    with subject(LONG, place) as long:
        yield prefetched(long, 0.55, effort)
    with subject(LONG, place, intra_op_threads=len(place.cores.server), encoded_cache_bytes=2**28) as lone:
        yield warm_tail(lone, WIDE.candidates, effort)
    with subject(WIDE, place) as wide:
        yield from conversion(wide, effort)
        yield from many_candidates(wide, effort)


def at_large(shape: ReferenceShape, place: Place, effort: Effort) -> Iterator[Result]:
    """Everything that one service of one shape can show."""
    with subject(shape, place) as there, floor(there) as beside:
        bare = Bare(shape, place.cores)
        yield from overhead(there, beside, bare, 1.10, effort)
        results, saturated = saturation(there, beside, bare, effort)
        yield from results
        yield from tail(there, beside, saturated, effort)
        yield prefetched(there, 0.85, effort)


def measure(effort: Effort) -> list[Result]:
    """All rows; this process, which generates the load, and Redis share the cores that the service has not."""
    cores = Cores.divided()
    torch.set_num_threads(1)
    with (
        on(cores.generator),
        EmbeddedRedis() as redis,
        tempfile.TemporaryDirectory(prefix="rankonce-bench-") as scratch,
    ):
        return list(rows(Place(Path(scratch), redis.url, cores), effort))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, under two minutes")
    quick = parser.parse_args(arguments).quick
    print(f"{machine()}; {Cores.divided()}, microbatch_size {MICROBATCH}, random weights, fp32", flush=True)
    results = measure(QUICK if quick else FULL)
    show(results)
    line = by_part(results)
    print_line(line)
    return line


def _by_count(values: dict[int, float], unit: float) -> str:
    return ", ".join(f"{count}: {unit * value:.4g}" for count, value in values.items())


if __name__ == "__main__":
    main()
