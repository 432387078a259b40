"""Memory: what was freed and what malloc still holds of it. It does not know who freed it.

glibc gives each thread a heap of its own, and what is freed there stays with it until the same heap is asked again.
Loading a bundle leaves some megabytes behind in whichever thread's heap it took place.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return freed pages to the system (a few ms; other threads run on). Does nothing where the C library cannot."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
