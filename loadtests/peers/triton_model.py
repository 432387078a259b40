"""The model as Triton's python backend runs it: copied into a model repository as `model.py`, once for an instance.

It runs inside Triton's own processes, under the peers' environment, where `triton_python_backend_utils` exists. It
knows no more of Triton than that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as triton

from loadtests.peers.artifact import Artifact
from loadtests.peers.tensors import Inputs


class TritonPythonModel:
    """One instance, in a process of its own, on one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        torch.set_num_threads(1)
        parameters = json.loads(args["model_config"])["parameters"]
        self.artifact = Artifact(Path(parameters["artifact"]["string_value"]))

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        """Inputs are views of memory that Triton shares with this process: nothing is copied on the way to torch."""
        arrays = [triton.get_input_tensor_by_name(request, name).as_numpy() for name in Inputs._fields]
        logits = self.artifact.logits(Inputs(*arrays))
        return triton.InferenceResponse([triton.Tensor("logits", logits)])
