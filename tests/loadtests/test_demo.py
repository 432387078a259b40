"""The demo does what the README says of it, with every part real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.demo import SURFACES
from tests.loadtests.demos import QuickDemo, served

pytestmark = pytest.mark.slow


def test_both_surfaces_are_ranked_alike_in_both_modes(quick_demo: QuickDemo) -> None:
    """Each surface prints a parity within 1e-5 and how much longer the non-amortized mode took."""
    assert quick_demo.status == 0, quick_demo.output
    relative = re.findall(r"^parity: max \|Δlogit\| = \S+ \(relative ([\d.e+-]+)\)", quick_demo.output, re.MULTILINE)
    ratios = re.findall(r"^amortized vs non-amortized: ([\d.]+)×", quick_demo.output, re.MULTILINE)

    assert len(relative) == len(ratios) == 2
    assert all(float(value) <= 1e-5 for value in relative)
    assert all(float(value) > 1 for value in ratios)


def test_nothing_is_left_running(quick_demo: QuickDemo) -> None:
    """The service that the demo started is gone when the demo is."""
    pid = re.search(r"ready at http\S+ .*pid (\d+)", quick_demo.output)

    assert pid
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid[1]), 0)


def test_a_second_demo_goes_on_with_the_first_ones_training(quick_demo: QuickDemo) -> None:
    """Running it again trains nothing anew and ranks again: it is safe to repeat."""
    command = [sys.executable, "-m", "loadtests.demo", "--quick", "--folder", str(quick_demo.folder)]
    again = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    assert again.returncode == 0, again.stdout
    assert "loss" not in again.stdout
    assert again.stdout.count("parity:") == 2


def test_a_terminated_demo_takes_its_service_along(quick_demo: QuickDemo) -> None:
    """SIGTERM to `make serve` stops the service too, not only the demo."""
    with served(quick_demo) as demo:
        os.kill(demo.service, 0)

    assert demo.process.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(demo.service, 0)


def test_a_demo_ends_with_its_service(quick_demo: QuickDemo) -> None:
    """`make serve` says so when the service is gone, and does not wait for it forever."""
    with served(quick_demo) as demo:
        os.kill(demo.service, signal.SIGKILL)
        said, _ = demo.process.communicate(timeout=60)

    assert demo.process.returncode == 1
    assert "the service ended with status -9" in said


def test_a_missing_data_set_ends_the_demo_with_its_message(tmp_path: Path) -> None:
    """A path that is not there is an error that names it, and no service is started."""
    command = [sys.executable, "-m", "loadtests.demo", "--data", "no/such/folder", "--folder", str(tmp_path)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    assert result.returncode != 0
    assert "no/such/folder" in result.stdout
    assert "Traceback" not in result.stdout
    assert "service" not in result.stdout


def test_an_extendable_ranker_ranks_alike_in_both_modes(tmp_path: Path) -> None:
    """The same path with HSTU, in a folder of its own."""
    command = [sys.executable, "-m", "loadtests.demo", "--quick", "--encoder", "hstu", "--folder", str(tmp_path)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    relative = re.findall(r"^parity: max \|Δlogit\| = \S+ \(relative ([\d.e+-]+)\)", result.stdout, re.MULTILINE)

    assert result.returncode == 0, result.stdout
    assert len(relative) == 2
    assert all(float(value) <= 1e-5 for value in relative)
    manifests = [json.loads((tmp_path / "models" / name / "1" / "manifest.json").read_text()) for name in SURFACES]
    assert [(manifest["encoder"], manifest["extendable"]) for manifest in manifests] == [("hstu", True)] * 2
