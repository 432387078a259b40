"""The typical service: lists of floats in, lists of floats out."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from loadtests.peers.tensors import Inputs
from loadtests.peers.typical import PATH, body, create_app, logits
from model.bundle import GoldenCase


@pytest.fixture
def client(artifact_file: Path) -> httpx.AsyncClient:
    """A client of it, without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(artifact_file)), base_url="http://typical")


async def test_numbers_are_answered_with_logits(client: httpx.AsyncClient, inputs: Inputs, golden: GoldenCase) -> None:
    """The same logits as from tensors: a float32 survives being printed."""
    async with client:
        answer = await client.post(PATH, content=body(inputs), headers={"content-type": "application/json"})

    np.testing.assert_allclose(logits(answer.content), golden.logits, rtol=1e-4, atol=1e-4)


async def test_a_request_without_a_history_is_refused(client: httpx.AsyncClient, inputs: Inputs) -> None:
    """pydantic checks what comes in, as it does for a typical team."""
    asked = msgspec.json.decode(body(inputs))
    del asked["history"]
    async with client:
        answer = await client.post(PATH, json=asked)

    assert answer.status_code == 422
