"""A peer as a process: it says where it listens, and ends when asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from loadtests.peers.floor import PATH
from loadtests.peers.tensors import Inputs
from loadtests.serving import READY
from model.bundle import GoldenCase


def test_a_peer_serves_on_a_free_port_until_it_is_ended(
    artifact_file: Path, inputs: Inputs, golden: GoldenCase
) -> None:
    """The first line tells the address; a request sent at once is answered; SIGTERM ends the process."""
    command = [sys.executable, "-m", "loadtests.peers.floor", str(artifact_file), "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = READY.search(process.stderr.readline())
            assert found is not None
            answer = httpx.post(found[1] + PATH, content=inputs.pack(), timeout=60)
        finally:
            process.terminate()
        process.wait(30)

    assert len(answer.content) == golden.logits.nbytes
