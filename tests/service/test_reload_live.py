"""Reloads of a running service: bad bundles are refused, requests never notice, memory is let go."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from model.bundle import read_manifest
from service.client import ProblemError
from service.runtime import TorchScriptRanker
from service.settings import Settings
from tests.live import Live
from tests.service.reloads import add, index, scores, spoil


@pytest.mark.parametrize("how", ["truncated", "incomplete", "golden", "torch", "surface", "nonsense"])
def test_a_bad_bundle_is_refused_and_the_old_one_serves_on(
    reloadable: Live, growing: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer, the log, the metric and the index say so; once mended, the same version loads."""
    first = scores(reloadable)
    told = spoil(add(growing), how)

    with pytest.raises(ProblemError) as refused:
        reloadable.client.load("feed")

    problem = refused.value.problem
    assert (problem.status, problem.code) == (409, "bundle_refused")
    assert told in problem.detail
    assert scores(reloadable) == first
    assert index(reloadable)["feed/2"] == ("UNAVAILABLE", problem.detail)
    assert told in caplog.text
    assert reloadable.metric("ranker_bundle_loads_total", surface="feed", result="refused") == 1
    assert reloadable.metric("ranker_bundle_last_refusal_timestamp_seconds", surface="feed") > 1e9

    shutil.rmtree(growing / "feed" / "2")
    add(growing)
    assert reloadable.client.load("feed").version == "2"


def test_no_request_is_dropped_and_no_answer_mixes_versions(reloadable: Live, growing: Path) -> None:
    """Reloads back and forth while both modes rank, cached, cold and explained: every request is answered, with exactly
    the scores of the version that its answer names."""
    add(growing)
    event = {"item_id": "item-3", "action": "like", "timestamp": 1}
    reloadable.http.post("/v1/events", json={"member_id": "m", "events": [event] * 5})
    kinds: list[dict[str, Any]] = [
        {},
        {"reuse_encoding": False},
        {"mode": "non_amortized"},
        {"explain": 2},
    ]
    request_time = {"request_time": 1_700_000_000_000}
    expected = {}
    for version in ("1", "2"):
        reloadable.client.load("feed", version)
        expected[version] = scores(reloadable, **request_time)[1]
    done = threading.Event()

    def ask(kind: dict[str, Any]) -> dict[str, int]:
        seen = {"1": 0, "2": 0}
        while not done.is_set():
            version, found = scores(reloadable, **kind, **request_time)
            assert found == pytest.approx(expected[version], rel=1e-5), kind
            seen[version] += 1
        return seen

    with ThreadPoolExecutor(len(kinds)) as threads:
        asking = [threads.submit(ask, kind) for kind in kinds]
        try:
            for version in ("1", "2", "1", "2"):
                assert reloadable.client.load("feed", version).version == version
        finally:
            done.set()
        seen = [future.result() for future in asking]

    assert all(counts["1"] > 0 and counts["2"] > 0 for counts in seen), seen


def test_the_old_bundle_is_let_go(reloadable: Live, growing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ranker and its kept encodings take no memory once its last request has ended."""
    rankers: list[weakref.ref[TorchScriptRanker]] = []
    original = TorchScriptRanker.__init__

    def noted(self: TorchScriptRanker, *arguments: Any) -> None:
        original(self, *arguments)
        rankers.append(weakref.ref(self))

    add(growing)
    monkeypatch.setattr(TorchScriptRanker, "__init__", noted)
    reloadable.client.load("feed", "2")
    of_second = list(rankers)
    event = {"item_id": "item-3", "action": "like", "timestamp": 1}
    reloadable.http.post("/v1/events", json={"member_id": "m", "events": [event]})
    scores(reloadable)
    assert reloadable.metric("ranker_encoded_history_cache_entries") == 1

    reloadable.client.load("feed", "1")

    gc.collect()
    assert len(of_second) == 2  # the ranker, and the same one on spare threads
    assert [ranker() for ranker in of_second] == [None, None]
    assert reloadable.metric("ranker_encoded_history_cache_entries") == 0


def test_a_bundle_with_other_embeddings_and_no_histories_is_refused(
    reloadable: Live, growing: Path, settings: Settings
) -> None:
    """Members have histories, and the new bundle would rank every one of them as a newcomer."""
    event = {"item_id": "item-3", "action": "like", "timestamp": 1}
    reloadable.http.post("/v1/events", json={"member_id": "m", "events": [event]})
    bundle = add(growing)
    manifest = read_manifest(bundle).model_copy(update={"embedding_version": "other"})
    (bundle / "manifest.json").write_text(manifest.model_dump_json())

    with pytest.raises(ProblemError, match="no history is stored under its embedding version other"):
        reloadable.client.load("feed")

    assert scores(reloadable)[0] == "1"
