"""Shadow comparison in a running service: real rankers, real threads, a wrong artifact, and load."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from service.runtime import TorchScriptRanker
from service.schemas import Candidate, Event, Mode, RankRequest
from service.settings import Settings
from service.shadow import DropReason
from tests.live import Live, serving

SECONDS = 60.0
JSON = {"content-type": "application/json"}
PAIRS = "ranker_shadow_pairs_total"


def body(count: int = 10, mode: Mode = "amortized", member: str = "m", surface: str = "feed") -> bytes:
    bid = 1.0 if surface == "ads" else None
    candidates = [Candidate(f"item-{i}", bid=bid) for i in range(1, count + 1)]
    return msgspec.json.encode(RankRequest(member, surface, candidates, mode=mode))  # type: ignore[arg-type]


def pairs(live: Live, surface: str = "feed") -> float:
    return sum(live.metric(PAIRS, surface=surface, order=order) for order in ("same", "tied", "different"))


def dropped(live: Live, reason: DropReason) -> float:
    return live.metric("ranker_shadow_dropped_total", reason=reason)


def wait_for(live: Live, count: float, surface: str = "feed") -> None:
    """Until so many pairs, or broken ones, are counted."""
    give_up = time.monotonic() + SECONDS
    while pairs(live, surface) + live.metric("ranker_shadow_parity_broken_total", surface=surface) < count:
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_every_answer_is_compared_when_the_fraction_is_one(settings: Settings) -> None:
    """Both surfaces, whichever mode answered and whether or not its encoding was kept; parity holds, both modes are
    timed, and the requests' own histograms know nothing of it."""
    with serving(settings.model_copy(update={"shadow_fraction": 1.0})) as live:
        live.client.append_events("m", [Event(f"item-{i}", "view", i) for i in range(1, 9)])
        for surface in ("feed", "ads"):
            for mode in ("amortized", "amortized", "non_amortized"):
                live.http.post("/v1/rank", content=body(mode=mode, surface=surface), headers=JSON).raise_for_status()
                wait_for(live, 1, surface)
            wait_for(live, 3, surface)

            assert live.metric("ranker_shadow_parity_broken_total", surface=surface) == 0
            assert live.metric("ranker_shadow_logit_difference_count", surface=surface) == 3
            assert 0 <= live.metric("ranker_shadow_logit_difference_sum", surface=surface) < 3e-5
            for mode in ("amortized", "non_amortized"):
                name = "ranker_shadow_inference_duration_seconds"
                assert live.metric(f"{name}_count", mode=mode, surface=surface) == 3
                assert live.metric(f"{name}_sum", mode=mode, surface=surface) > 0
            asked = {"surface": surface, "mode": "amortized", "outcome": "ok"}
            assert live.metric("ranker_request_duration_seconds_count", **asked) == 2


def test_a_caller_may_ask_for_it_and_a_wrong_wish_is_refused(settings: Settings) -> None:
    """With the fraction at zero only the header compares; nonsense in it is 422 before anything is ranked."""
    with serving(settings) as live:
        for header, status in (("1", 200), ("0", 200), ("", 422), ("true", 422)):
            answer = live.http.post("/v1/rank", content=body(), headers={**JSON, "x-rankonce-shadow": header})
            assert answer.status_code == status
            if status == 422:
                assert answer.json()["field"] == "X-Rankonce-Shadow"
        live.http.post("/v1/rank", content=body(), headers=JSON)
        wait_for(live, 1)

        assert pairs(live) == 1


@pytest.mark.parametrize("wrong", ["perturbed", "nan"])
def test_a_ranker_whose_modes_differ_raises_the_alarm(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """An artifact whose passes over several requests at once are off by little, or no numbers: answers go out as
    before, and the counter that the alert watches moves."""
    original = TorchScriptRanker.score_each

    def off(self: TorchScriptRanker, *args: object) -> object:
        scored = original(self, *args)  # type: ignore[arg-type]
        if wrong == "nan":
            from service.runtime import _finite

            _finite(scored.logits * float("nan"))
        return scored._replace(logits=scored.logits + 1e-3)

    with serving(settings) as live:
        monkeypatch.setattr(TorchScriptRanker, "score_each", off)
        answer = live.http.post("/v1/rank", content=body(), headers={**JSON, "x-rankonce-shadow": "1"})
        wait_for(live, 1)

        assert answer.status_code == 200
        assert live.metric("ranker_shadow_parity_broken_total", surface="feed") == 1


def test_under_load_comparisons_give_way(settings: Settings) -> None:
    """Every thread is kept busy by real requests that all want to be compared: every request is answered, as many
    permits are free as without a shadow, and what was not compared is counted as dropped."""
    busy = settings.model_copy(update={"shadow_fraction": 1.0, "non_amortized_permits": 4, "non_amortized_chunk": 1})
    with serving(busy) as live:

        def send(number: int) -> int:
            ask = body(600, "non_amortized", f"m-{number}")
            return httpx.post(f"{live.url}/v1/rank", content=ask, headers=JSON, timeout=SECONDS).status_code

        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(send, range(40)))
        gave_way = sum(dropped(live, reason) for reason in ("queue_full", "busy", "preempted", "history"))

        assert statuses == [200] * 40
        assert live.metric("ranker_shed_total", reason="permits") == 0
        assert gave_way > 0
        assert live.metric("ranker_inflight_requests", mode="non_amortized") == 0
        assert live.metric("ranker_shadow_parity_broken_total", surface="feed") == 0


def test_the_service_ends_in_the_middle_of_a_comparison(settings: Settings, repository: Path) -> None:
    """A long run in the shadow does not hold up the end."""
    slow = settings.model_copy(update={"shadow_fraction": 1.0, "non_amortized_chunk": 1})
    with serving(slow) as live:
        for _ in range(3):
            live.http.post("/v1/rank", content=body(1000), headers=JSON).raise_for_status()
        start = time.monotonic()

    assert time.monotonic() - start < SECONDS
