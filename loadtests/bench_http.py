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
COUNTS = (MICROBATCH, 2_048, 4_096, 8_192, 16_384)


class Effort(NamedTuple):
    """rounds: turns of each side · block: requests in a turn · seconds: of open-loop load · tail: requests for p99."""

    rounds: int
    block: int
    seconds: float
    tail: int


FULL = Effort(12, 40, 20.0, 600)
QUICK = Effort(6, 20, 6.0, 200)


def overhead(there: Subject, bare: Bare, target: float, effort: Effort) -> Result:
    """Row 3: by turns, so that drift cancels; the median of the turns' ratios."""
    ratios, http, alone = [], [], []
    for turn in range(effort.rounds):
        sides = (there.cold, bare.times) if turn % 2 == 0 else (bare.times, there.cold)
        times = {side: side(effort.block) for side in sides}
        ratios.append(median(times[there.cold]) / median(times[bare.times]))
        http += times[there.cold]
        alone += times[bare.times]
    note = f"HTTP p50 {1e3 * median(http):.2f} ms, p99 {1e3 * p99(http):.2f} ms; bare {1e3 * median(alone):.2f} ms"
    return at_most(f"3 {there.shape.name}", median(ratios), target, note)


def saturation(there: Subject, bare: Bare, effort: Effort) -> tuple[Result, float]:
    """Row 4, and the answers a second that it was found from."""
    threads = len(there.cores.server)
    shares, rates = [], []
    for _ in range(max(3, effort.rounds // 2)):
        alone = median(bare.times(effort.block))
        rates.append(saturate(there.server.url, there.bodies, 2 * threads, 4 * threads * effort.block))
        shares.append(rates[-1] * alone / threads)
    there.chill()
    rate = median(rates)
    if threads + 1 < FEWEST_CORES:
        return not_measured("4 large", 0.92, f"not applicable below {FEWEST_CORES} cores"), rate
    note = f"{rate:.0f} answers/s on {threads} cores, {2 * threads} at once"
    return at_least("4 large", median(shares), 0.92, note), rate


def tail(there: Subject, saturated: float, effort: Effort) -> Result:
    """Row 8. The service time is that of a request alone, everything included."""
    threads, rate = len(there.cores.server), LOAD * saturated
    alone = median(there.cold(2 * effort.block))
    seen = poisson(there.server.url, there.bodies, rate, effort.seconds, seed=8)
    there.chill()
    ideal = p99_sojourn(rate, alone, threads)
    note = (
        f"p99 {1e3 * p99(seen.latencies):.1f} ms of {len(seen.latencies)} at {rate:.0f}/s, "
        f"M/D/{threads} {1e3 * ideal:.1f} ms; generator {seen.busy:.0%}"
    )
    return at_most("8 large", p99(seen.latencies) / ideal, 1.3, note)


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
    with subject(SMALL, place) as small:
        yield overhead(small, Bare(SMALL, place.cores), 1.5, effort)
    with subject(LONG, place) as long:
        yield prefetched(long, 0.55, effort)
    with subject(LONG, place, intra_op_threads=len(place.cores.server), encoded_cache_bytes=2**28) as lone:
        yield warm_tail(lone, WIDE.candidates, effort)
    with subject(WIDE, place) as wide:
        yield from conversion(wide, effort)
        yield from many_candidates(wide, effort)


def at_large(shape: ReferenceShape, place: Place, effort: Effort) -> Iterator[Result]:
    """Everything that one service of one shape can show."""
    with subject(shape, place) as there:
        bare = Bare(shape, place.cores)
        yield overhead(there, bare, 1.10, effort)
        result, rate = saturation(there, bare, effort)
        yield result
        yield tail(there, rate, effort)
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
