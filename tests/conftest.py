"""Fixtures that every layer's tests share: a real model repository, exported as a trained one would be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from loadtests.faults.bundles import export_faulty
from model.bundle import Calibration, Feature, ItemTable, Manifest, Surface, Task
from model.config import Encoder, RankerConfig
from model.export import export_bundle
from model.ranker import build_ranker
from service.settings import Settings
from tests.live import Live, serving
from tests.loadtests.demos import QuickDemo, run_quick_demo


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With RANKONCE_NO_SKIPS (CI) a skipped test fails the run, unless what it lacks is a CUDA device."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [str(report.longrepr) for report in reporter.stats.get("skipped", [])] if reporter else []
    silent = [reason for reason in skipped if "CUDA" not in reason]
    if os.environ.get("RANKONCE_NO_SKIPS") and silent:
        print(f"\n{len(silent)} skipped tests are not allowed here: {silent}")  # noqa: T201
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


ITEMS = 50
"""Known items of the repository's table: `item-1` … `item-50`."""

SURFACES: dict[Surface, tuple[tuple[Task, ...], tuple[Feature, ...]]] = {
    "feed": (
        (Task(name="click"), Task(name="like", weight=2.0)),
        (Feature(name="age", default=0.5), Feature(name="ctr")),
    ),
    "ads": (
        (Task(name="click", calibration=Calibration(scale=0.9, offset=-0.3)),),
        (Feature(name="ctr", default=0.1),),
    ),
}
ACTIONS = ("view", "click", "like")
CONTEXT = (Feature(name="hour", default=12.0),)


@pytest.fixture(scope="session")
def items() -> ItemTable:
    """Fifty items with random float16 embeddings, 16 wide, and the unknown row."""
    embeddings = np.random.default_rng(7).standard_normal((ITEMS + 1, 16)).astype(np.float16)
    return ItemTable(("", *(f"item-{i}" for i in range(1, ITEMS + 1))), embeddings)


@pytest.fixture(scope="session")
def config() -> Callable[..., RankerConfig]:
    """The config of a surface's tiny ranker: T_max 24, slack 6, two layers of width 16."""

    def build(surface: Surface, encoder: Encoder = "transformer") -> RankerConfig:
        tasks, features = SURFACES[surface]
        return RankerConfig(
            actions=len(ACTIONS),
            tasks=len(tasks),
            features=len(features),
            context=len(CONTEXT),
            encoder=encoder,
            embedding_dim=16,
            heads=2,
            ffn_dim=32,
            max_history=24,
            slack=6,
            meta_dim=4,
            head_dim=16,
        )

    return build


@pytest.fixture(scope="session")
def export(items: ItemTable, config: Callable[[Surface, Encoder], RankerConfig]) -> Callable[..., Manifest]:
    """Export a ranker with random weights of `seed` as the bundle that the path names."""

    def build(directory: Path, surface: Surface, seed: int = 0, encoder: Encoder = "transformer") -> Manifest:
        tasks, features = SURFACES[surface]
        torch.manual_seed(seed)
        ranker = build_ranker(config(surface, encoder))
        for parameter in ranker.parameters():  # large enough that a wrong score cannot hide in the tolerance
            torch.nn.init.normal_(parameter, std=0.3)
        return export_bundle(
            directory,
            ranker,
            config(surface, encoder),
            items,
            surface=surface,
            tasks=tasks,
            actions=ACTIONS,
            features=features,
            context=CONTEXT,
            max_candidates=1000,
        )

    return build


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, export: Callable[[Path, Surface, int], Manifest]) -> Path:
    """A model repository with `feed/1` and `ads/1`, sharing one item table. Read-only: copy it to change it."""
    root = tmp_path_factory.mktemp("models")
    export(root / "feed" / "1", "feed", 1)
    export(root / "ads" / "1", "ads", 2)
    return root


@pytest.fixture(scope="session")
def faulty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository whose one bundle misbehaves when a request asks it to."""
    root = tmp_path_factory.mktemp("faulty")
    export_faulty(root)
    return root


@pytest.fixture(scope="module")
def faulty(faulty_repository: Path) -> Iterator[Live]:
    """A running service on it, with one inference thread, and a deadline that a crowded machine does not reach."""
    settings = Settings(model_repository=faulty_repository, inference_threads=1, amortized_deadline_ms=20_000.0)
    with serving(settings) as running:
        yield running


@pytest.fixture(scope="session")
def quick_demo(tmp_path_factory: pytest.TempPathFactory) -> QuickDemo:
    """The whole path, run once: slow."""
    return run_quick_demo(tmp_path_factory.mktemp("demo"))
