"""Rows: the ranker raises, gives numbers that are none, or never comes back. It does not know how that is noticed."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path

import httpx

from loadtests.chaos.ending import ending
from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import Stage
from loadtests.faults.bundles import FAULT, HANG, NAN, RAISE, export_faulty

EXIT_STATUS = 70
HANG_SECONDS = 2.0
GRACE_SECONDS = 5.0
_SETTINGS = {
    "RANKER_INFERENCE_THREADS": "2",
    "RANKER_INFERENCE_HANG_SECONDS": f"{HANG_SECONDS:g}",
    "RANKER_AMORTIZED_DEADLINE_MS": "500",
    "RANKER_NAMESPACE": "faulty",
}


async def misbehaves(stage: Stage) -> Figures:
    """Of a bundle that does all three on request, beside requests that ask for nothing of it."""
    figures = Figures()
    found: dict[float, Counter[int]] = {fault: Counter() for fault in (0.0, RAISE, NAN, HANG)}
    with tempfile.TemporaryDirectory(prefix="rankonce-faulty-") as folder:
        await asyncio.to_thread(export_faulty, Path(folder), stage.catalog.any.actions)
        async with ending(stage, Path(folder), **_SETTINGS) as service, httpx.AsyncClient(base_url=service.url) as http:

            async def ask(fault: float) -> None:
                body = {
                    "member_id": "m",
                    "surface": "feed",
                    "candidates": [{"id": "item-1"}],
                    "context": {FAULT: fault},
                }
                begun = time.perf_counter()
                found[fault][(await http.post("/v1/rank", json=body)).status_code] += 1
                figures.worst_ms = max(figures.worst_ms, 1e3 * (time.perf_counter() - begun))

            end = time.perf_counter() + stage.seconds(1.0, 10.0)
            while time.perf_counter() < end:
                await asyncio.gather(ask(0.0), ask(RAISE), ask(0.0), ask(NAN))
            hung = time.perf_counter()
            await ask(HANG)

            async def unready() -> bool:
                await ask(0.0)
                return (await http.get("/readyz")).status_code == HTTPStatus.SERVICE_UNAVAILABLE

            await stage.until(unready, HANG_SECONDS + GRACE_SECONDS, "readiness falls")
            fell = time.perf_counter() - hung
            status = await asyncio.to_thread(service.process.wait, HANG_SECONDS + GRACE_SECONDS + 10.0)
            figures.facts = {"readiness fell after s": fell, "exit after s": time.perf_counter() - hung}
    figures.sent = sum(counts.total() for counts in found.values())
    figures.answered = found[0.0][HTTPStatus.OK]
    figures.shed = found[HANG][HTTPStatus.GATEWAY_TIMEOUT]
    figures.failed = found[RAISE][HTTPStatus.INTERNAL_SERVER_ERROR] + found[NAN][HTTPStatus.INTERNAL_SERVER_ERROR]
    figures.expect(figures.answered == found[0.0].total(), f"others were not answered: {dict(found[0.0])}")
    figures.expect(figures.failed == found[RAISE].total() + found[NAN].total(), "a fault was answered")
    figures.expect(figures.shed == 1, f"the request that hung got {dict(found[HANG])}")
    figures.expect(status == EXIT_STATUS, f"it exited with {status}")
    return figures


ROWS = (Row("ranker-faults", "the ranker raises, NaN, hangs", misbehaves),)
