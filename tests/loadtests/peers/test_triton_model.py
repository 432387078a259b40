"""The model inside Triton, with a stand-in for the module that only Triton's processes have."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from loadtests.peers.tensors import Inputs
from model.bundle import GoldenCase


def test_requests_are_answered_with_logits(
    artifact_file: Path, inputs: Inputs, golden: GoldenCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the artifact in its configuration and answers every request that it is handed, on one thread."""
    utils = ModuleType("triton_python_backend_utils")
    utils.get_input_tensor_by_name = lambda request, name: SimpleNamespace(as_numpy=lambda: request[name])  # type: ignore[attr-defined]
    utils.Tensor = lambda name, array: (name, array)  # type: ignore[attr-defined]
    utils.InferenceResponse = lambda tensors: tensors  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    module = importlib.import_module("loadtests.peers.triton_model")
    monkeypatch.delitem(sys.modules, "loadtests.peers.triton_model")  # it must not outlive the stand-in
    threads = torch.get_num_threads()

    model = module.TritonPythonModel()
    try:
        model.initialize(
            {"model_config": json.dumps({"parameters": {"artifact": {"string_value": str(artifact_file)}}})}
        )
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    answers = model.execute([inputs._asdict(), inputs._asdict()])

    assert [tensor[0][0] for tensor in answers] == ["logits", "logits"]
    np.testing.assert_allclose(answers[1][0][1], golden.logits, rtol=1e-4, atol=1e-4)
