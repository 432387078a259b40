"""The service under test."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import psutil
import pytest

from loadtests.serving import DEMO_MODELS, QUICK, ServiceFailed, find_models, serving
from loadtests.workload import Workload


def test_the_service_has_the_workloads_members(repository: Path, workload: Workload) -> None:
    """It knows their histories, its costs can be read, and it is gone afterwards, with its Redis."""
    length = int(workload.shapes.history[0])
    with serving(repository, workload) as service:
        stored = httpx.get(f"{service.url}/v1/members/{workload.member_id(0)}/history").json()
        children = service.process.children()
        cpu, memory = service.cpu_seconds(), service.memory_mb()

    assert (stored["total"], length > 0) == (length, True)
    assert cpu > 0
    assert memory > 10
    assert not service.process.is_running()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_a_service_that_does_not_start_says_why(tmp_path: Path, workload: Workload) -> None:
    """Its last words are in the error."""
    with pytest.raises(ServiceFailed, match="holds no bundle"), serving(tmp_path, workload):
        pass


def test_a_service_that_dies_under_load_is_noticed(repository: Path, workload: Workload) -> None:
    """Ended while the block runs, it is reported, even if its own status is that of a good end."""

    def lose_the_service() -> None:
        with serving(repository, workload) as service:
            service.process.terminate()
            service.process.wait(30)

    with pytest.raises(ServiceFailed, match="ended with status"):
        lose_the_service()


def test_models_are_looked_for_in_order(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ones given, then the demo's, then the quick ones of an earlier load test."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(repository, QUICK / "models")
    assert find_models(None) == QUICK / "models"
    shutil.copytree(repository, DEMO_MODELS)
    assert find_models(None) == DEMO_MODELS
    assert find_models(repository) == repository


@pytest.mark.slow
def test_without_any_models_quick_ones_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fresh clone there is something to load, and the demo's folder stays untouched."""
    monkeypatch.chdir(tmp_path)

    found = find_models(None)

    assert {path.parent.parent.name for path in found.glob("*/*/manifest.json")} == {"feed", "ads"}
    assert not DEMO_MODELS.exists()
