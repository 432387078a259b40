"""The subject over HTTP: its members are cold whenever their turn comes, and a wrong source is an error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.bench_server import Cores, on
from loadtests.bench_shapes import ReferenceShape
from loadtests.bench_subject import KEPT, MEMBERS, Bare, Place, Subject, subject
from service.embedded_redis import EmbeddedRedis

TINY = ReferenceShape("tiny", history=16, candidates=32, embedding_dim=16)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """A service at a toy size."""
    root: Path = tmp_path_factory.mktemp("bench")
    with EmbeddedRedis() as redis, subject(TINY, Place(root, redis.url, Cores.divided())) as running:
        yield running


def test_members_are_cold_in_every_turn(there: Subject) -> None:
    """Twice round, every history is read from the store; only some encodings were kept."""
    assert len(there.cold(2 * MEMBERS)) == 2 * MEMBERS
    entries = next(
        line
        for line in there.client.get("/metrics").body.decode().splitlines()
        if line.startswith("ranker_encoded_history_cache_entries ")
    )
    assert 1 <= float(entries.split()[1]) < MEMBERS // 2
    assert KEPT < MEMBERS // 2


def test_members_are_cold_again_after_load_of_any_order(there: Subject) -> None:
    """Whoever was asked for last is not among those whose turn comes next."""
    start = there._turn
    for ahead in range(KEPT):
        there.client.post(there.bodies[(start + ahead) % MEMBERS])
    there.chill()

    assert len(there.cold(KEPT)) == KEPT


def test_a_request_that_is_not_what_it_should_be_is_an_error(there: Subject) -> None:
    """A warm one is no cold one, and a refusal is neither."""
    _, body = there.next()
    there.ask(body, "store")
    there.ask(body, "cache")

    with pytest.raises(RuntimeError, match="from store"):
        there.ask(body, "store")
    with pytest.raises(RuntimeError, match="422"):
        there.ask(b"{}", "store")


def test_the_bare_model_runs_on_the_services_cores_and_gives_them_back() -> None:
    """Affinity is this thread's, for as long as it runs."""
    before = os.sched_getaffinity(0)
    cores = Cores.divided()
    with on(cores.generator):
        assert os.sched_getaffinity(0) == cores.generator
        assert len(Bare(TINY, cores).times(3)) == 3
        assert os.sched_getaffinity(0) == cores.generator
    assert os.sched_getaffinity(0) == before
