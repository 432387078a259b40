"""Triton's repository and protocol. The server itself runs under `make bench-peers` alone (the module says why)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from loadtests.peers import triton
from loadtests.peers.tensors import Inputs


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Laid out as pip leaves the wheel, every file empty."""
    root = tmp_path / "venv"
    server = root / "lib/python3.11/site-packages/pytriton/tritonserver"
    stub = "python_backend_stubs/3.11/triton_python_backend_stub"
    for name in ("bin/tritonserver", "backends/python/libtriton_python.so", stub):
        (server / name).parent.mkdir(parents=True)
        (server / name).touch()
    return root


def test_a_repository_is_written_for_the_server(environment: Path, tmp_path: Path) -> None:
    """The model beside its configuration, the backend with the stub of this Python, and a command that names both."""
    launch = triton.prepare(environment, tmp_path / "run", tmp_path / "ranker.pt", instances=3)

    model = tmp_path / "run" / "models" / "ranker"
    assert "class TritonPythonModel" in (model / "1" / "model.py").read_text()
    assert "count: 3 kind: KIND_CPU" in (model / "config.pbtxt").read_text()
    assert {path.name for path in (tmp_path / "run" / "backends" / "python").iterdir()} == {
        "libtriton_python.so",
        "triton_python_backend_stub",
    }
    assert f"--model-repository={model.parent}" in launch.command
    assert launch.environment["PATH"].startswith(str(environment / "bin"))


def test_without_the_wheel_the_reason_is_told(tmp_path: Path) -> None:
    """An empty environment names what installs it; a wheel for other Pythons says so."""
    with pytest.raises(triton.TritonMissing, match="make bench-peers"):
        triton.prepare(tmp_path, tmp_path / "run", tmp_path / "ranker.pt", 1)
    (tmp_path / "lib/python3.99/site-packages/pytriton/tritonserver").mkdir(parents=True)
    with pytest.raises(triton.TritonMissing, match=r"Python 3\.99"):
        triton.prepare(tmp_path, tmp_path / "run", tmp_path / "ranker.pt", 1)


def test_tensors_follow_their_description(inputs: Inputs) -> None:
    """KServe v2: the header's length in a header, then each tensor's bytes, as many as its description says."""
    body, headers = triton.body(inputs)
    length = int(headers["Inference-Header-Content-Length"])
    described = json.loads(body[:length])

    offset = length
    for tensor, array in zip(described["inputs"], inputs, strict=True):
        size = tensor["parameters"]["binary_data_size"]
        assert body[offset : offset + size] == array.tobytes()
        assert tensor["shape"] == list(array.shape)
        offset += size
    assert offset == len(body)
    assert [tensor["datatype"] for tensor in described["inputs"]] == ["INT64"] * 3 + ["FP32"] * 5


def test_a_binary_answer_is_read() -> None:
    """Behind its JSON, with the shape that it tells."""
    expected = np.arange(6, dtype=np.float32).reshape(3, 2)
    head = json.dumps({"outputs": [{"name": "logits", "shape": [3, 2]}]}).encode()
    headers = b"http/1.1 200 ok\r\ninference-header-content-length: %d\r\n" % len(head)

    np.testing.assert_array_equal(triton.logits(headers, head + expected.tobytes()), expected)


def test_its_log_tells_where_it_listens() -> None:
    """The line about HTTP and no other."""
    assert triton.ready('I1 http_server.cc:4713] "Started HTTPService at 127.0.0.1:8123"\n') == (
        "",
        "http://127.0.0.1:8123",
    )
    assert triton.ready("I1 server.cc:604] ready") is None
