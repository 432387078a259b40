"""Loop lag: a loop that is held up is seen to be."""

from __future__ import annotations

import asyncio
import time

from service.loop_lag import sampling_loop_lag


async def test_a_loop_that_is_held_up_is_late() -> None:
    """Code that blocks the loop for a while shows as a lag of that order; afterwards nothing is left running."""
    seen: list[float] = []
    tasks = asyncio.all_tasks()
    async with sampling_loop_lag(seen.append, interval=0.001):
        await asyncio.sleep(0.01)
        time.sleep(0.2)  # noqa: ASYNC251 - what must not happen in a loop
        await asyncio.sleep(0.01)

    assert max(seen) > 0.15
    assert min(seen) >= 0.0
    assert asyncio.all_tasks() == tasks
