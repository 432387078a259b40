"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from service.memory import give_back

_BLOCKS, _BLOCK_BYTES = 2000, 64 * 1024  # smaller than what malloc asks the system for piece by piece


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library cannot")
def test_what_a_thread_has_freed_goes_back() -> None:
    """Also from under a block that is still in use, which would hold it in the thread's heap for good."""
    with ThreadPoolExecutor(1) as thread:
        give_back()  # what the tests before this one have freed
        before = _resident_mb()
        blocks = thread.submit(lambda: [bytes([1]) * _BLOCK_BYTES for _ in range(_BLOCKS)]).result()
        full = _resident_mb()
        last = blocks.pop()
        blocks.clear()
        freed = _resident_mb()

        give_back()

        whole = _BLOCKS * _BLOCK_BYTES / 2**20
        assert full - before > 0.9 * whole
        assert freed - before > 0.9 * whole  # else this test would show nothing
        assert _resident_mb() - before < 0.1 * whole
        assert len(last) == _BLOCK_BYTES
