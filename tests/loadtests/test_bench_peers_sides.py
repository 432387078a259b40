"""The sides that need nothing but our own environment, started for real."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from loadtests.bench_bundles import Bundle
from loadtests.bench_peers_ours import Demand, Questions
from loadtests.bench_peers_sides import COLD, ZIPF, Side, Sides
from loadtests.bench_shapes import ReferenceShape
from loadtests.peers.closed_loop import Block, ClosedLoop
from loadtests.peers.triton import TritonMissing
from service.embedded_redis import EmbeddedRedis

TINY = ReferenceShape("tiny", history=16, candidates=32, embedding_dim=16)


def asked(side: Side) -> Block:
    """A short block of the side's own questions, its last answers judged."""
    with closing(ClosedLoop(side.serving.url, 2)) as loop:
        block = loop.run(side.asks, 0.1)
    for reply in block.replies:
        side.judge(reply)
    return block


def test_every_side_answers_rightly_on_the_cores_it_is_given(tmp_path: Path) -> None:
    """The floor, the typical service and ours; memory is the whole server's; only Zipf finds encodings kept."""
    core = frozenset([min(os.sched_getaffinity(0))])
    with EmbeddedRedis() as redis, ExitStack() as stack:
        bundle = Bundle(TINY, tmp_path)
        sides = Sides(Questions(bundle, redis.url, Demand(members=5, requests=20)), core, stack)
        ours = sides.ours(redis.url, bundle, cache_mb=16)
        cold = sides.of_ours(COLD, ours, bundle)
        there = [sides.floor(), sides.typical(), cold]

        assert all(asked(side).latencies for side in there)
        assert cold.cache_events().get("hit", 0.0) == 0.0
        zipf = sides.of_ours(ZIPF, ours, bundle)
        asked(zipf)
        assert zipf.cache_events()["hit"] > 0
        assert there[0].cache_events() == {}
        assert all(set(side.serving.process.cpu_affinity()) == core for side in there)
        assert all(side.memory_mb() > 30 for side in there)
        with pytest.raises(TritonMissing):
            sides.triton(tmp_path / "nowhere", tmp_path / "triton")
