"""The artifact as every peer runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loadtests.peers.artifact import Artifact
from loadtests.peers.tensors import Inputs
from model.bundle import GoldenCase


def test_it_gives_the_bundles_golden_logits(artifact_file: Path, inputs: Inputs, golden: GoldenCase) -> None:
    """What the peers compute is what our service would."""
    logits = Artifact(artifact_file).logits(inputs)

    np.testing.assert_allclose(logits, golden.logits, rtol=1e-4, atol=1e-4)
