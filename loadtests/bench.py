"""`python -m loadtests.bench [--quick]`: every row of the performance targets, one table, one line of JSON.

The model alone, the model over HTTP, and reduced precision on trained weights: each is a benchmark of its own
(`bench_model`, `bench_http`, `bench_precision`), this runs them after one another. It does not know what they measure.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from loadtests import bench_http, bench_model, bench_precision
from loadtests.bench_results import Result, by_row, print_line, show
from loadtests.bench_server import Cores
from loadtests.timing import machine


def measure(quick: bool) -> list[Result]:
    """Each benchmark's rows, in turn."""
    return [
        *bench_model.measure(bench_model.QUICK if quick else bench_model.FULL),
        *bench_http.measure(bench_http.QUICK if quick else bench_http.FULL),
        *bench_precision.measure(bench_precision.QUICK if quick else bench_precision.FULL),
    ]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, under three minutes")
    quick = parser.parse_args(arguments).quick
    started = time.perf_counter()
    print(f"{machine()}; {Cores.divided()}, one thread a request, random weights but in row 6", flush=True)
    results = measure(quick)
    show(results)
    print(f"{time.perf_counter() - started:.0f} s")
    line = by_row(results)
    print_line(line)
    return line


if __name__ == "__main__":
    main()
