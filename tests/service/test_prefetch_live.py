"""Prefetching in a running service: real rankers, threads and sockets."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import httpx
import msgspec
import pytest

from service.encoded import EncodedHistory
from service.inputs import HistoryArrays
from service.prefetch import PrefetchResult
from service.runtime import TorchScriptRanker
from service.schemas import Candidate, Event, PrefetchRequest, RankRequest
from service.settings import Settings
from tests.live import Live, serving

SECONDS = 60.0
JSON = {"content-type": "application/json"}


def prefetches(live: Live, result: PrefetchResult) -> float:
    return live.metric("ranker_prefetch_total", result=result)


def wait_for(live: Live, result: PrefetchResult, count: float) -> None:
    give_up = time.monotonic() + SECONDS
    while prefetches(live, result) < count:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def ask(member: str, **fields: object) -> RankRequest:
    return RankRequest(member, "feed", [Candidate(f"item-{i}") for i in range(1, 9)], **fields)  # type: ignore[arg-type]


def test_a_running_service_encodes_ahead(live: Live) -> None:
    """Over HTTP: 202 and no body, then a ranking from the cache with the very scores of one that encodes anew."""
    live.client.append_events("ahead", [Event(f"item-{i}", "view", i) for i in range(1, 9)])
    answer = live.http.post("/v1/prefetch", json={"member_id": "ahead", "surface": "feed"})
    assert (answer.status_code, answer.content) == (202, b"")
    wait_for(live, "encoded", 1)

    ranked = live.client.rank(ask("ahead", logits=True)).response
    anew = live.client.rank(ask("ahead", logits=True, reuse_encoding=False)).response

    assert (ranked.history.source, anew.history.source) == ("cache", "store")
    assert [c.logits for c in ranked.ranked] == [c.logits for c in anew.ranked]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"member_id": "m"}', 422, "surface"),
        (b'{"member_id": "m", "surface": "feed", "candidates": []}', 422, "candidates"),
        (b'{"member_id": "m", "surface": "shop"}', 422, "surface"),
        (b"{", 422, "body"),
    ],
)
def test_a_malformed_prefetch_is_refused(live: Live, body: bytes, status: int, field: str) -> None:
    """As strictly as a ranking."""
    answer = live.http.post("/v1/prefetch", content=body, headers=JSON)

    assert (answer.status_code, answer.json()["field"]) == (status, field)


def test_a_rank_hurries_the_prefetch_that_it_waits_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads, one held: a second prefetch must leave the other one idle, until a ranking needs its encoding."""
    hold, held = threading.Event(), threading.Event()
    encode = TorchScriptRanker.encode

    def holding(
        self: TorchScriptRanker, history: HistoryArrays, prefix: EncodedHistory | None = None
    ) -> EncodedHistory:
        if history.length == 1:
            held.set()
            hold.wait(SECONDS)
        return encode(self, history, prefix)

    with serving(settings) as live:
        live.client.append_events("first", [Event("item-1", "view", 1)])
        live.client.append_events("second", [Event("item-1", "view", 1), Event("item-2", "view", 2)])
        monkeypatch.setattr(TorchScriptRanker, "encode", holding)
        live.client.prefetch("first", "feed")
        assert held.wait(SECONDS)
        live.client.prefetch("second", "feed")
        ranked = live.client.rank(ask("second")).response

        assert ranked.history.length == 2
        assert prefetches(live, "encoded") <= 1
        hold.set()


def test_fifty_at_once_are_all_answered_and_all_counted(settings: Settings) -> None:
    """With room for four, whatever becomes of the others: 202, a result each, and a ranking still goes through."""
    with serving(settings.model_copy(update={"prefetch_pending": 4})) as live, ThreadPoolExecutor(50) as pool:
        live.client.append_events("m", [Event("item-1", "view", 1)])
        body = msgspec.json.encode(PrefetchRequest("m", "feed"))

        def send(_: int) -> int:
            return httpx.post(f"{live.url}/v1/prefetch", content=body, headers=JSON, timeout=SECONDS).status_code

        assert set(pool.map(send, range(50))) == {202}
        give_up = time.monotonic() + SECONDS
        while sum(prefetches(live, result) for result in get_args(PrefetchResult)) < 50:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        assert live.client.rank(ask("m")).response.history.source == "cache"
