"""A bundle's TorchScript file, loaded as our own service loads it: what every peer puts behind its own kind of HTTP.

Loaded, frozen and called in inference mode, encode and score in one `forward`. The peers differ in how bytes become
tensors and in the threads around this, never in the model. It does not know the service.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from loadtests.peers.tensors import Inputs


class Artifact:
    """Safe to call from several threads. torch's own parallelism is the caller's to set, in each thread that calls."""

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
            self._module = torch.jit.freeze(torch.jit.load(str(path), map_location="cpu").eval())

    def logits(self, inputs: Inputs) -> NDArray[np.float32]:
        """[C, K]. The arrays must be writable, or torch warns, though nothing here writes."""
        tensors = {name: torch.from_numpy(array)[None] for name, array in inputs._asdict().items()}  # [1, …]
        with torch.inference_mode():
            logits = self._module(
                tensors["history"],
                tensors["actions"],
                tensors["timestamps"],
                torch.ones(1, len(inputs.history), dtype=torch.bool),
                tensors["candidates"],
                tensors["features"],
                tensors["context"],
                tensors["meta"],
                tensors["request_time"][0],
            )
            result: NDArray[np.float32] = logits[0].numpy()
        return result
