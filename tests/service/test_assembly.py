"""Assembly: parts come up in order, and go down in reverse, whatever happens in between."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from service.assembly import open_service
from service.health import Readiness
from service.offline import StartFailed
from service.schemas import Candidate, RankRequest
from service.settings import Settings


def inference_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("inference")}


def redis_servers() -> set[str]:
    """Process ids of our children that are Redis servers, the tests' shared one included."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return {pid for pid in children if b"redis" in Path(f"/proc/{pid}/cmdline").read_bytes()}


@pytest.fixture
def embedded(settings: Settings) -> Settings:
    """Settings without a Redis URL."""
    return settings.model_copy(update={"redis_url": None})


async def test_the_service_opens_and_closes(embedded: Settings) -> None:
    """While it is open it ranks on an embedded Redis; afterwards no thread and no server is left."""
    before, threads = redis_servers(), inference_threads()
    readiness = Readiness()
    async with open_service(embedded, readiness) as state:
        opened = len(redis_servers() - before), len(inference_threads() - threads)
        assert (readiness.phase, opened) == ("serving", (1, 2))
        ranking = await state["ranking"].rank(RankRequest("m", "feed", [Candidate("item-1")]), "r1")
        assert ranking.response.history.source == "cold_start"

    assert (readiness.phase, redis_servers(), inference_threads()) == ("draining", before, threads)


async def test_inference_threads_are_as_nice_as_the_settings_say(embedded: Settings) -> None:
    """Five more than the event loop's by default."""
    before, ours = inference_threads(), os.getpriority(os.PRIO_PROCESS, 0)
    async with open_service(embedded, Readiness()):
        nice = [os.getpriority(os.PRIO_PROCESS, thread.native_id or 0) for thread in inference_threads() - before]

    assert nice == [min(ours + 5, 19)] * 2


async def test_histories_are_there_before_it_is_ready(embedded: Settings, tmp_path: Path) -> None:
    """The first request already sees them."""
    file = tmp_path / "histories.jsonl"
    event = {"item_id": "item-1", "action": "view", "timestamp": 5}
    file.write_text(json.dumps({"member_id": "m", "events": [event]}))

    async with open_service(embedded, Readiness(), file) as state:
        ranking = await state["ranking"].rank(RankRequest("m", "feed", [Candidate("item-1")]), "r1")

    assert ranking.response.history.length == 1


async def test_a_start_that_fails_half_way_leaves_nothing(embedded: Settings, tmp_path: Path) -> None:
    """What was opened before the failure is closed again, and it never was ready."""
    before, threads = redis_servers(), inference_threads()
    readiness = Readiness()
    file = tmp_path / "histories.jsonl"
    file.write_text("nonsense")

    with pytest.raises(StartFailed, match=r"cannot start: histories\.jsonl: line 1"):
        async with open_service(embedded, readiness, file):
            raise AssertionError("opened")

    assert (readiness.phase, redis_servers(), inference_threads()) == ("starting", before, threads)


async def test_a_failure_inside_is_not_a_failed_start(embedded: Settings) -> None:
    """What happens while it serves keeps its own type, and still everything is closed."""
    before, threads = redis_servers(), inference_threads()
    with pytest.raises(ValueError, match="mine"):
        async with open_service(embedded, Readiness()):
            raise ValueError("mine")

    assert (redis_servers(), inference_threads()) == (before, threads)
