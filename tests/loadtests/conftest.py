"""Fixtures for the load tests: a small workload, and a server on a real socket whose answers a test decides."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest

from loadtests.catalog import Catalog, read_catalog
from loadtests.workload import Call, Plan, Workload
from service.schemas import HistoryInfo, ModelRef, RankedCandidate, RankResponse

Respond = Callable[[bytes], tuple[int, bytes]]
Answering = Callable[[Respond], AbstractContextManager[str]]

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def catalog(repository: Path) -> Catalog:
    """What the tests' bundles take."""
    return read_catalog(repository)


@pytest.fixture(scope="session")
def workload(catalog: Catalog) -> Workload:
    """Forty members and sixty requests a surface."""
    return Workload(catalog, Plan(seed=3, members=40, requests=60))


@pytest.fixture(scope="session")
def mind_folder() -> Path:
    """The folder that holds the real `mind_sample/`: RANKONCE_DATA, or `shared/data` beside the repository."""
    folder = Path(os.environ.get("RANKONCE_DATA", _BESIDE))
    if not (folder / "mind_sample").is_dir():
        pytest.skip("real data: mind_sample is not there (set RANKONCE_DATA to a folder that holds it)")
    return folder


@pytest.fixture
def made_up_folder(tmp_path: Path) -> Path:
    """A folder in the sample's format with three made-up impressions: 0, 2 and 5 actions; 3, 1 and 4 candidates."""
    (tmp_path / "mind_sample").mkdir()
    rows = [("", "A-0 B-1 C-0"), ("A B", "C-1"), ("A B C D E", "A-0 B-0 C-0 D-1")]
    lines = [f"{n}\tU{n}\t11/12/2019 2:14:46 PM\t{history}\t{shown}" for n, (history, shown) in enumerate(rows)]
    (tmp_path / "mind_sample" / "behaviors.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def right_answer(call: Call) -> RankResponse:
    """An answer that nothing can be said against."""
    ranked = [
        RankedCandidate(item, rank, 1.0 / rank, dict.fromkeys(sorted(call.tasks), 0.5))
        for rank, item in enumerate(sorted(call.candidates), start=1)
    ]
    source = "store" if call.history else "cold_start"
    return RankResponse("r", ModelRef(call.surface, "1"), call.mode, HistoryInfo(min(call.history, 24), source), ranked)


def rightly(calls: list[Call]) -> Respond:
    """Answers each of these calls as it should be."""
    answers = {call.body: msgspec.json.encode(right_answer(call)) for call in calls}
    return lambda body: (200, answers[body])


@pytest.fixture
def answering() -> Answering:
    """`with answering(respond) as url:` — a server that answers POSTs with `respond(body)`, one at a time."""

    @contextmanager
    def serve(respond: Respond) -> Iterator[str]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
                    status, body = respond(await reader.readexactly(length))
                    writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(connected, "127.0.0.1", 0), loop)
        server = starting.result(10)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:

            async def end() -> None:
                server.close()
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)

            asyncio.run_coroutine_threadsafe(end(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    return serve


def stalling(respond: Respond, at: int, seconds: float) -> Respond:
    """As `respond`, but the server stands still for so long at its request number `at`."""
    seen = 0

    def slow(body: bytes) -> tuple[int, bytes]:
        nonlocal seen
        seen += 1
        if seen == at:
            time.sleep(seconds)
        return respond(body)

    return slow
