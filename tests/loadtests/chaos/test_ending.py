"""Ending: a second service whose end fails no row."""

from __future__ import annotations

from pathlib import Path

import httpx

from loadtests.chaos.ending import ending
from loadtests.chaos.stage import staged


async def test_a_service_may_end_and_the_stage_stays(repository: Path) -> None:
    """Whether it was killed or is still there in the end."""
    async with staged(repository, {}, (), quick=True) as stage:
        async with ending(stage, repository) as service:
            async with httpx.AsyncClient(base_url=service.url) as http:
                assert (await http.get("/healthz")).status_code == 200
            service.process.kill()
            service.process.wait(30)
        async with ending(stage, repository):
            pass
        assert (await stage.http.get("/readyz")).status_code == 200
