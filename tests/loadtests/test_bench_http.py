"""The benchmark over HTTP at toy sizes: what it reports, never how fast it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests import bench_http
from loadtests.bench_floor import floor
from loadtests.bench_http import Effort, at_large, conversion, many_candidates, warm_tail
from loadtests.bench_results import Result
from loadtests.bench_server import Cores
from loadtests.bench_shapes import ReferenceShape
from loadtests.bench_subject import Place, Subject, subject
from service.embedded_redis import EmbeddedRedis

TINY = ReferenceShape("tiny", history=16, candidates=32, embedding_dim=16)
ONCE = Effort(rounds=2, block=4, seconds=0.5, tail=5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root: Path = tmp_path_factory.mktemp("bench")
    with EmbeddedRedis() as redis:
        yield Place(root, redis.url, Cores.divided())


@pytest.fixture(scope="module")
def there(place: Place) -> Iterator[Subject]:
    with subject(TINY, place) as running:
        yield running


def test_one_service_shows_overhead_saturation_tail_and_prefetch(place: Place) -> None:
    """Rows 3, 4, 8 and 11, each with its target and what it was made of."""
    results = {result.row: result for result in at_large(TINY, place, ONCE)}

    demanded = {row: result.target for row, result in results.items() if not row.endswith("floor")}
    assert demanded == {"3 tiny": 1.10, "4 large": 0.92, "8 large": 1.3, "11 tiny": 0.85}
    assert results["3 tiny"].value is not None
    assert results["3 tiny"].value > 1.0  # HTTP, JSON and Redis are never free
    assert "answers/s" in results["4 large"].note or "not applicable" in results["4 large"].note
    for row in ("8 large", "8 large floor"):
        assert results[row].value is not None or "overload" in results[row].note
    assert results["3 tiny floor"].value is not None  # what it takes without all that the service does
    assert results["3 tiny floor"].met is results["8 large floor"].met is None
    assert results["11 tiny"].value is not None


def test_a_row_that_needs_cores_says_so(there: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below its number of cores the throughput is no figure: no value, no verdict, a reason."""
    monkeypatch.setattr(bench_http, "FEWEST_CORES", 1000)
    with floor(there) as beside:
        (result,), rates = bench_http.saturation(there, beside, bench_http.Bare(TINY, there.cores), ONCE)

    assert (result.value, result.met) == (None, None)
    assert "not applicable" in result.note
    assert min(rates) > 0


def test_memory_and_conversion_are_rows(there: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 7 and 9 name each size; memory is that of the service at its peak."""
    monkeypatch.setattr(bench_http, "COUNTS", (16, 32, 64))
    results: list[Result] = [*many_candidates(there, ONCE), *conversion(there, ONCE)]

    assert [result.row for result in results] == ["7 http", "7 memory", "9 ids", "9 features"]
    assert all(result.value is not None and result.value > 0 for result in results)
    assert "64:" in results[1].note


def test_the_warm_tail_is_reported_without_a_verdict(place: Place) -> None:
    """Row 10 stands beside another benchmark's limit; nothing is demanded."""
    with subject(TINY, place, encoded_cache_bytes=2**20) as warm:
        result = warm_tail(warm, 64, ONCE)

    assert (result.row, result.target, result.met) == ("10 http p99 ms", None, None)
    assert "80 ms" in result.note
