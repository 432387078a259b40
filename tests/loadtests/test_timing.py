"""Alternating two sides."""

from __future__ import annotations

import functools

import torch

from loadtests.timing import WARM_UP, Gemm, alternate, machine, median, p99, resident_mb


def test_sides_take_turns_and_swap_the_order() -> None:
    """Round one goes forwards, round two backwards; a turn's first call and the warm-up are not timed."""
    calls: list[str] = []
    sides = {name: functools.partial(calls.append, name) for name in "ab"}

    seconds = alternate(sides, rounds=2, repeats=1)

    assert "".join(calls) == "a" * WARM_UP + "b" * WARM_UP + "aabb" + "bbaa"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
    assert all(time >= 0 for times in seconds.values() for time in times)


def test_median_and_tail() -> None:
    """A single slow call moves the tail and not the median."""
    samples = [1.0] * 99 + [100.0]

    assert median(samples) == 1.0
    assert 1.0 < p99(samples) < 100.0


def test_measure_is_a_matrix_product() -> None:
    """2 n³ operations, and the product is right."""
    gemm = Gemm(4)

    gemm()

    assert gemm.flops == 128
    torch.testing.assert_close(gemm._out, gemm._left @ gemm._right)


def test_machine_is_named() -> None:
    """A table says where it comes from."""
    assert "cores" in machine()
    assert "torch" in machine()
    assert resident_mb() > 1
