"""Fair timing on a shared machine: all sides in one process, by turns, summed up by medians.

It does not know what is timed.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

Side = Callable[[], object]
WARM_UP = 3  # TorchScript profiles the first call and specialises in the second


def alternate(sides: Mapping[str, Side], rounds: int, repeats: int = 1) -> dict[str, list[float]]:
    """Seconds of `rounds` × `repeats` calls of each side; every second round goes through the sides backwards.

    The first call of a turn is not counted: it finds the caches full of the other side's data.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        for _ in range(WARM_UP):
            side()
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            sides[name]()
            for _ in range(repeats):
                start = time.perf_counter()
                sides[name]()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median(seconds: list[float]) -> float:
    return float(np.median(seconds))


def p99(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 99))


class Gemm:
    """The machine's measure: fp32 products of two square matrices."""

    def __init__(self, size: int = 2048) -> None:
        self.flops = 2 * size**3
        self._left, self._right = torch.randn(2, size, size)
        self._out = torch.empty(size, size)

    def __call__(self) -> None:
        torch.mm(self._left, self._right, out=self._out)


def machine() -> str:
    """The processor, how many of its cores this process may use, and the libraries."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    processor = names[0] if names else platform.processor()
    return f"{processor}, {cores} cores, torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"


def resident_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
