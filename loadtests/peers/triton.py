"""Triton Inference Server on CPU: its model repository, how it is started, and its binary protocol (KServe v2).

The server is the one inside the `nvidia-pytriton` wheel, started by itself: pytriton's own way hands each request on to
another process through a message queue, which its plain python backend does not. What was measured to be strongest:

    instances     one process for each core of the server, torch on one thread in each (others: DECISIONS.md)
    batching      none, so no delay; requests of this size fill a core alone
    tensors       binary in the body, shared memory between server and instance
    left out      gRPC and metrics ports, statistics of each request

It does not know what is asked or measured. Only `make bench-peers` runs the server: its wheel wants another numpy than
ours, so the tests have what is written for it and what is said to it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadtests.peers.tensors import Inputs

PATH = "/v2/models/ranker/infer"
HEADER_LENGTH = b"inference-header-content-length: "
STARTED = re.compile(r'Started HTTPService at ([\d.:]+)"')
DATATYPES = {"float32": "FP32", "int64": "INT64"}
_ROOT = Path(__file__).parents[2]


class TritonMissing(Exception):
    """The environment holds no server for this Python; the message says what was looked for."""


class Launch(NamedTuple):
    """How to start the server."""

    command: list[str]
    environment: dict[str, str]


def prepare(environment: Path, folder: Path, artifact: Path, instances: int) -> Launch:
    """Write the model repository and backend into `folder`. environment: with `nvidia-pytriton` and torch."""
    found = sorted(environment.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    if not found:
        raise TritonMissing(f"{environment} holds no nvidia-pytriton: `make bench-peers` installs it")
    server, python = found[0], found[0].parts[-4].removeprefix("python")
    stub = server / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonMissing(f"the wheel holds no python backend for Python {python}")
    backends, models = folder / "backends", folder / "models"
    shutil.copytree(server / "backends" / "python", backends / "python")
    shutil.copy(stub, backends / "python")
    (models / "ranker" / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("triton_model.py"), models / "ranker" / "1" / "model.py")
    (models / "ranker" / "config.pbtxt").write_text(configuration(artifact, instances))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(server / "bin" / "tritonserver"), f"--model-repository={models}", f"--backend-directory={backends}"]
    command += ["--http-address=127.0.0.1", f"--http-port={port}", "--allow-grpc=false", "--allow-metrics=false"]
    libraries = server.parents[1] / "nvidia_pytriton.libs"
    return Launch(
        command,
        {
            **os.environ,
            "PATH": f"{environment.resolve() / 'bin'}:{os.environ['PATH']}",  # the python that an instance becomes
            "LD_LIBRARY_PATH": f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
            "PYTHONPATH": str(_ROOT),  # model.py imports its neighbours
        },
    )


def configuration(artifact: Path, instances: int) -> str:
    """config.pbtxt. No batching: max_batch_size 0."""
    dims = {"history": "-1, -1", "candidates": "-1, -1", "features": "-1, -1"}
    inputs = ", ".join(
        f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims.get(name, "-1")} ] }}'
        for name, kind in zip(Inputs._fields, ["INT64"] * 3 + ["FP32"] * 5, strict=True)
    )
    return f"""
backend: "python"
max_batch_size: 0
input [ {inputs} ]
output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ -1, -1 ] }} ]
instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
parameters [ {{ key: "artifact" value: {{ string_value: "{artifact.resolve()}" }} }} ]
"""


def ready(line: str) -> tuple[str, str] | None:
    """Where it listens, second, once a line of its log says so."""
    found = STARTED.search(line)
    return ("", f"http://{found[1]}") if found else None


def body(inputs: Inputs) -> tuple[bytes, dict[str, str]]:
    """A request with binary tensors, and the header that tells where they begin."""
    described = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": DATATYPES[array.dtype.name],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in inputs._asdict().items()
    ]
    asked = {"inputs": described, "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}
    head = json.dumps(asked, separators=(",", ":")).encode()
    return head + b"".join(array.tobytes() for array in inputs), {"Inference-Header-Content-Length": str(len(head))}


def logits(headers: bytes, answer: bytes) -> NDArray[np.float32]:
    """[C, K] of a binary answer. headers: in lower case."""
    length = int(headers.split(HEADER_LENGTH, 1)[1].split(b"\r\n", 1)[0])
    output = json.loads(answer[:length])["outputs"][0]
    return np.frombuffer(answer, np.float32, offset=length).reshape(output["shape"])
