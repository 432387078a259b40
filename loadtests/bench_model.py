"""`python -m loadtests.bench_model [--quick]`: how close the model itself comes to what the machine can do.

Rows 1, 2, 5 and the model's part of 7 and 10 of the performance targets (README.md here), one thread. Prints a table
for each and one line of JSON at the end: for each row value, target and whether it is met. No service, no network.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from loadtests.bench_bare import BareModel
from loadtests.bench_flops import amortized_flops, encode_flops, non_amortized_flops
from loadtests.bench_results import Result, at_least, at_most, by_part, print_line, reported, show
from loadtests.bench_shapes import LARGE, LONG, SMALL, WIDE, ReferenceShape
from loadtests.timing import WARM_UP, Gemm, alternate, machine, median, p99, resident_mb
from service.settings import Settings

MICROBATCHES = (128, 256, 512, 1024, 2048)
CHUNKS = (1, 2, 4, 8)
NON_AMORTIZED_CANDIDATES = 16  # timed of them; the rest cost the same
MANY, FEW = 16_384, 2_048


class Effort(NamedTuple):
    rounds: int
    repeats: int


FULL = Effort(21, 3)
QUICK = Effort(4, 2)


def both_modes(shape: ReferenceShape, effort: Effort) -> Iterator[Result]:
    """Rows 1 and 2: each mode at its own best chunk, against the GEMM rate of the same minutes."""
    model, gemm, config = BareModel(shape), Gemm(), shape.config
    sides: dict[str, Callable[[], object]] = {"gemm": gemm}
    microbatches = [size for size in MICROBATCHES if size <= shape.candidates]
    for size in microbatches:
        sides[f"amortized@{size}"] = functools.partial(model.amortized, size)
    for size in CHUNKS:
        sides[f"non_amortized@{size}"] = functools.partial(model.non_amortized, size, NON_AMORTIZED_CANDIDATES)
    seconds = alternate(sides, effort.rounds, effort.repeats)
    rate = gemm.flops / median(seconds["gemm"])

    per_candidate = non_amortized_flops(config, shape.history, 1)
    required = {
        "amortized": amortized_flops(config, shape.history, shape.candidates),
        "non_amortized": per_candidate * NON_AMORTIZED_CANDIDATES,
    }
    print(f"\n{shape}: {required['amortized'] / 1e9:.2f} GFLOP amortized, GEMM {rate / 1e9:.0f} GFLOP/s")
    print(f"  {'side':22s}{'median ms':>11s}{'p99 ms':>10s}{'GFLOP/s':>10s}{'share':>8s}")
    for name in list(sides)[1:]:
        reached = required[name.split("@")[0]] / median(seconds[name])
        print(
            f"  {name:22s}{median(seconds[name]) * 1e3:11.2f}{p99(seconds[name]) * 1e3:10.2f}"
            f"{reached / 1e9:10.0f}{reached / rate:8.3f}"
        )

    amortized = min(median(seconds[f"amortized@{size}"]) for size in microbatches)
    each = min(median(seconds[f"non_amortized@{size}"]) for size in CHUNKS) / NON_AMORTIZED_CANDIDATES
    ratio = each * shape.candidates / amortized
    flop_ratio = per_candidate * shape.candidates / required["amortized"]
    print(f"  non-amortized takes {ratio:.0f} x the time at {flop_ratio:.0f} x the FLOPs")
    shares = {"1": (required["amortized"] / amortized / rate, 0.85), "2": (per_candidate / each / rate, 0.65)}
    for row, (share, target) in shares.items():  # nothing is demanded at small, where calls cost more than arithmetic
        name = f"{row} {shape.name}"
        yield reported(name, share) if shape is SMALL else at_least(name, share, target)
    yield reported(f"2 {shape.name} times", ratio)
    yield reported(f"2 {shape.name} flops", flop_ratio)


def encoding_at_hand(shape: ReferenceShape, target: float, effort: Effort, microbatch: int) -> Result:
    """Row 5: the same member again against a cold one."""
    model, config = BareModel(shape), shape.config
    score = functools.partial(model.score, model.encode(), microbatch)
    cold = functools.partial(model.amortized, microbatch)
    seconds = alternate({"cold": cold, "at hand": score}, 4 * effort.rounds, effort.repeats)
    ratio = median(seconds["at hand"]) / median(seconds["cold"])
    all_flops = amortized_flops(config, shape.history, shape.candidates)
    flop_share = 1 - encode_flops(config, shape.history) / all_flops
    print(
        f"\n{shape}: encoding at hand takes {ratio:.3f} of a cold request; its share of the FLOPs is {flop_share:.3f}"
    )
    return at_most(f"5 {shape.name}", ratio, target)


def many_candidates(effort: Effort, microbatch: int) -> Iterator[Result]:
    """Row 7, model alone: time per candidate and resident memory must not grow with their number."""
    models = {count: BareModel(WIDE, candidates=count) for count in (FEW, MANY)}
    resident = {0: resident_mb()}
    for count, model in models.items():
        for _ in range(WARM_UP):
            model.amortized(microbatch)
        resident[count] = resident_mb()
    sides = {str(count): functools.partial(model.amortized, microbatch) for count, model in models.items()}
    seconds = alternate(sides, effort.rounds)
    each = {count: median(seconds[str(count)]) / count for count in models}
    print(f"\nT={WIDE.history} d={WIDE.embedding_dim}, microbatches of {microbatch}: microseconds per candidate")
    print("  " + ", ".join(f"{each[count] * 1e6:.2f} at C={count}" for count in models))
    print("  resident MB: " + ", ".join(f"{size:.0f} after C={count}" for count, size in resident.items()))
    yield at_most("7 model", each[MANY] / each[FEW], 1.1)


def warm_tail(effort: Effort, microbatch: int) -> Result:
    """Row 10, model alone: a long history at hand and many candidates."""
    model = BareModel(LONG, candidates=FEW)
    score = functools.partial(model.score, model.encode(), microbatch)
    seconds = alternate({"score": score}, 10 * effort.rounds, effort.repeats)["score"]
    print(
        f"\nT={LONG.history} C={FEW} d={LONG.embedding_dim}, encoding at hand: median {median(seconds) * 1e3:.1f} ms,",
        end="",
    )
    print(f" p99 {p99(seconds) * 1e3:.1f} ms of {len(seconds)} (MLPerf DLRMv3's limit for a request: 80 ms)")
    return reported("10 model p99 ms", p99(seconds) * 1e3)


def measure(effort: Effort) -> list[Result]:
    """All rows, on one thread."""
    torch.set_num_threads(1)
    microbatch = Settings().microbatch_size
    with torch.inference_mode():
        results = [result for shape in (SMALL, LARGE, WIDE, LONG) for result in both_modes(shape, effort)]
        results.append(encoding_at_hand(LARGE, 0.82, effort, microbatch))
        results.append(encoding_at_hand(LONG, 0.52, effort, microbatch))
        results += many_candidates(effort, microbatch)
        results.append(warm_tail(effort, microbatch))
    return results


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, under a minute")
    quick = parser.parse_args(arguments).quick
    print(f"{machine()}; 1 thread, microbatch_size {Settings().microbatch_size}, random weights, frozen, fp32")
    results = measure(QUICK if quick else FULL)
    show(results)
    line = by_part(results)
    print_line(line)
    return line


if __name__ == "__main__":
    main()
