"""The floor: tensors in, logits out."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np

from loadtests.peers.floor import PATH, create_app
from loadtests.peers.tensors import Inputs
from model.bundle import GoldenCase


async def test_packed_tensors_are_answered_with_logits(artifact_file: Path, inputs: Inputs, golden: GoldenCase) -> None:
    """As raw float32, one row a candidate."""
    transport = httpx.ASGITransport(create_app(artifact_file, threads=1))
    async with httpx.AsyncClient(transport=transport, base_url="http://floor") as client:
        answer = await client.post(PATH, content=inputs.pack())

    logits = np.frombuffer(answer.content, np.float32).reshape(golden.logits.shape)
    np.testing.assert_allclose(logits, golden.logits, rtol=1e-4, atol=1e-4)
