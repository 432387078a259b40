"""Fixtures for the peers: a tiny bundle's artifact, and a request to it whose logits are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtests.peers.tensors import Inputs
from model.bundle import RANKER_FILE, GoldenCase, read_golden


@pytest.fixture(scope="session")
def artifact_file(repository: Path) -> Path:
    """The TorchScript file of a feed bundle: T_max 24, D 16."""
    return repository / "feed" / "1" / RANKER_FILE


@pytest.fixture(scope="session")
def golden(repository: Path) -> GoldenCase:
    """A request with a history, and the logits that are right."""
    return max(read_golden(repository / "feed" / "1"), key=lambda case: len(case.embeddings))


@pytest.fixture(scope="session")
def inputs(golden: GoldenCase) -> Inputs:
    """The same as the peers take it."""
    return Inputs(
        actions=golden.actions,
        timestamps=golden.timestamps,
        request_time=np.array([golden.request_time]),
        history=golden.embeddings,
        candidates=golden.candidates,
        features=golden.features,
        context=golden.context,
        meta=golden.meta,
    )
