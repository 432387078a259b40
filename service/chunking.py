"""Chunking: into which passes a request's candidates are cut. It does not know what a pass computes."""

from __future__ import annotations

from typing import NamedTuple

CHUNKS = (2, 4, 8, 16, 32, 64)
"""Candidates per pass of the non-amortized mode, to choose from."""

FEWEST_A_THREAD = 128
"""Candidates in an amortized pass that is spread: it has a fixed cost, and a thread takes a while to wake."""


class Chunking(NamedTuple):
    """microbatch: most candidates in one pass over an encoded history · non_amortized: candidates per full pass ·
    threads: most threads that one request's candidates are spread over, as far as they are idle."""

    microbatch: int
    non_amortized: int
    threads: int = 1


def passes(count: int, most: int, fewest: int, threads: int) -> list[slice]:
    """Cut `count` candidates into passes of at most `most`, in order and without a gap.

    For several threads they are smaller, of at least `fewest`, two for each thread: a slow one then holds up less.
    """
    size = most if threads == 1 else min(most, max(fewest, -(-count // (2 * threads))))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
