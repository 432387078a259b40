"""The floor answers what the model says, and an error is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtests.bench_floor import Floor, floor
from loadtests.bench_server import Cores
from loadtests.bench_shapes import ReferenceShape
from loadtests.bench_subject import Place, subject
from loadtests.peers.artifact import Artifact
from loadtests.peers.tensors import Inputs
from service.embedded_redis import EmbeddedRedis

TINY = ReferenceShape("tiny", history=16, candidates=32, embedding_dim=16)


def test_it_scores_requests_of_the_subjects_shape_by_the_subjects_model(tmp_path: Path) -> None:
    """And a request that it cannot read is no measurement."""
    with (
        EmbeddedRedis() as redis,
        subject(TINY, Place(tmp_path, redis.url, Cores.divided())) as there,
        floor(there) as beside,
    ):
        asked = Inputs.unpack(bytearray(beside.body))  # torch wants what it could write to
        assert (asked.history.shape, asked.candidates.shape) == ((16, 16), (32, 16))
        logits = np.frombuffer(beside.client.post(beside.body).body, np.float32)
        artifact = Artifact(there.bundle.repository / "feed" / "1" / "ranker.pt")
        np.testing.assert_allclose(logits, artifact.logits(asked).ravel(), rtol=1e-4, atol=1e-5)
        assert all(seconds > 0 for seconds in beside.times(3))
        with pytest.raises(RuntimeError, match="the floor answered 500"):
            Floor(beside.url, beside.client, b"short").times(1)
