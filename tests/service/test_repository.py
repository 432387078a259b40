"""ModelRepository: another version in the place of the one that serves, whole or not at all."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from model.bundle import BundleError
from service.errors import BundleRefused, ModelUnavailable, NotFound, StoreUnavailable
from service.repository import ModelRepository
from tests.service.reloads import Bystander, Loader, add_version, reason, states


@pytest.fixture
async def models(root: Path, loader: Loader, around: Bystander) -> ModelRepository:
    """Open, with version 1 of both surfaces."""
    models = ModelRepository(root, loader, around)
    await models.open()
    around.changes.clear()
    around.counts.clear()
    return models


async def test_a_loaded_version_takes_the_place_of_the_one_before(
    root: Path, models: ModelRepository, around: Bystander
) -> None:
    """By name, or by default the newest; whoever must know is told once, in the step in which it serves."""
    for version in ("2", "3"):
        add_version(root, "feed", version)

    assert (await models.load("feed", "2")).manifest.version == "2"
    assert (await models.load("feed")).manifest.version == "3"

    assert around.changes == [("feed", "1", "2"), ("feed", "2", "3")]
    assert around.counts == [("feed", "loaded")] * 2
    assert around.others == ["1", "2"]
    assert states(models) == {"feed/1": "UNAVAILABLE", "feed/2": "UNAVAILABLE", "feed/3": "READY", "ads/1": "READY"}


async def test_while_one_loads_the_one_before_serves(root: Path, models: ModelRepository, loader: Loader) -> None:
    """A second load waits for the first."""
    add_version(root, "feed", "2")
    loader.gate.clear()
    first = asyncio.create_task(models.load("feed", "2"))
    second = asyncio.create_task(models.load("feed", "1"))
    for _ in range(3):  # both tasks run until they wait
        await asyncio.sleep(0)

    assert states(models)["feed/2"] == "LOADING"
    assert models.get("feed").manifest.version == "1"
    loader.gate.set()
    assert (await first).manifest.version == "2"
    assert (await second).manifest.version == "1"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BundleError("ranker.pt", "differs"), "ranker.pt: differs"),
        (RuntimeError("strange\nbundle"), "cannot be loaded (RuntimeError)"),
    ],
)
async def test_a_refused_version_leaves_the_one_before_serving(
    root: Path,
    models: ModelRepository,
    loader: Loader,
    around: Bystander,
    error: Exception,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error, the log and the index say why, with the bundle's path; the metric counts it."""
    folder = add_version(root, "feed", "2")
    before = models.get("feed")
    loader.error = error

    with pytest.raises(BundleRefused) as refused:
        await models.load("feed")

    assert models.get("feed") is before
    assert refused.value.detail.startswith(str(folder))
    assert refused.value.detail.endswith(told)
    assert reason(models, "2") == refused.value.detail
    assert f"feed version 2 is refused: {refused.value.detail}" in caplog.text
    assert (around.changes, around.counts) == ([], [("feed", "refused")])


async def test_a_version_in_the_wrong_folder_is_refused(root: Path, models: ModelRepository) -> None:
    """An ads bundle copied under feed/2 is not a feed ranker."""
    shutil.copytree(root / "ads" / "1", root / "feed" / "2")

    with pytest.raises(BundleRefused, match="says ads/1 for ads, not its folder"):
        await models.load("feed", "2")


async def test_a_model_that_is_not_admitted_does_not_serve(
    root: Path, models: ModelRepository, around: Bystander
) -> None:
    """A store that cannot tell whether it may is an error of its own, to be tried again."""
    add_version(root, "feed", "2")

    for error, raised in (
        (BundleError("manifest.json", "no history"), BundleRefused),
        (StoreUnavailable("away"), StoreUnavailable),
    ):
        around.error = error
        with pytest.raises(raised):
            await models.load("feed", "2")
        assert models.get("feed").manifest.version == "1"
    assert reason(models, "2") == "away"

    around.error = None
    await models.load("feed", "2")
    assert reason(models, "2") == ""


async def test_loading_the_serving_version_again_may_fail_and_changes_nothing(
    models: ModelRepository, loader: Loader
) -> None:
    """It serves on, and the index says both."""
    loader.error = BundleError("items.safetensors", "differs")

    with pytest.raises(BundleRefused):
        await models.load("feed", "1")

    assert states(models)["feed/1"] == "READY"
    assert "serves on; loading it again was refused" in reason(models, "1")


@pytest.mark.parametrize("version", ["2", "01", "../1"])
async def test_a_version_that_is_not_there_is_not_found(models: ModelRepository, version: str) -> None:
    """Only a folder that the repository lists can be loaded."""
    with pytest.raises(NotFound):
        await models.load("feed", version)


async def test_rollback_goes_to_what_served_before_and_back(root: Path, models: ModelRepository) -> None:
    """The version that served, not the one with the next lower number; loading the same again does not count."""
    with pytest.raises(NotFound, match="no other version"):
        await models.rollback("feed")
    for version in ("2", "3"):
        add_version(root, "feed", version)
    await models.load("feed", "3")
    await models.load("feed", "3")

    assert (await models.rollback("feed")).manifest.version == "1"
    assert (await models.rollback("feed")).manifest.version == "3"


async def test_an_unloaded_surface_is_unavailable_until_it_is_loaded(
    models: ModelRepository, around: Bystander
) -> None:
    """The other one serves on; unloading twice is no error, and rolling back brings it again."""
    for _ in range(2):
        await models.unload("feed")

    with pytest.raises(ModelUnavailable):
        models.get("feed")
    assert states(models) == {"feed/1": "UNAVAILABLE", "ads/1": "READY"}
    assert around.changes == [("feed", "1", None)]
    assert (await models.rollback("feed")).manifest.version == "1"


async def test_a_serving_version_whose_folder_is_gone_is_listed(root: Path, models: ModelRepository) -> None:
    """What serves is in memory."""
    shutil.rmtree(root / "feed" / "1")

    assert states(models)["feed/1"] == "READY"


async def test_a_cancelled_load_changes_nothing(root: Path, models: ModelRepository, loader: Loader) -> None:
    """The next one is free to go."""
    add_version(root, "feed", "2")
    loader.gate.clear()
    loading = asyncio.create_task(models.load("feed", "2"))
    await asyncio.sleep(0.01)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading

    assert states(models)["feed/2"] == "UNAVAILABLE"
    loader.gate.set()
    assert (await models.load("feed", "2")).manifest.version == "2"
