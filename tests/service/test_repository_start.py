"""ModelRepository at the start: the newest version of each surface that can serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.bundle import BundleError
from service.errors import ModelUnavailable
from service.repository import ModelRepository
from tests.service.reloads import Bystander, Loader, add_version, reason, states


async def test_each_surface_is_served_by_its_newest_version(root: Path, loader: Loader, around: Bystander) -> None:
    """Versions are numbers: 10 is newer than 9."""
    for version in ("9", "10"):
        add_version(root, "feed", version)
    models = ModelRepository(root, loader, around)

    await models.open()

    assert models.get("feed").manifest.version == "10"
    assert models.get("ads").manifest.version == "1"
    assert set(models.serving) == {"feed", "ads"}
    assert states(models) == {"feed/1": "UNAVAILABLE", "feed/9": "UNAVAILABLE", "feed/10": "READY", "ads/1": "READY"}


async def test_a_surface_without_a_bundle_is_unavailable_and_the_other_serves(
    root: Path, loader: Loader, around: Bystander
) -> None:
    """A feed alone is a service."""
    shutil.rmtree(root / "ads")
    models = ModelRepository(root, loader, around)

    await models.open()

    assert models.get("feed")
    with pytest.raises(ModelUnavailable):
        models.get("ads")


async def test_a_repository_without_any_bundle_is_refused(tmp_path: Path, loader: Loader, around: Bystander) -> None:
    """It says where it looked for what."""
    with pytest.raises(BundleError, match="holds no bundle"):
        await ModelRepository(tmp_path, loader, around).open()


async def test_at_the_start_an_older_version_steps_in(root: Path, loader: Loader, around: Bystander) -> None:
    """A restart after a refused reload comes up with the newest version that can serve, and says why not more."""
    (add_version(root, "feed", "2") / "manifest.json").write_text("{")
    models = ModelRepository(root, loader, around)

    await models.open()

    assert models.get("feed").manifest.version == "1"
    assert around.counts == [("feed", "refused"), ("feed", "loaded"), ("ads", "loaded")]
    assert "cannot be read" in reason(models, "2")


async def test_a_surface_whose_versions_are_all_refused_keeps_the_service_from_starting(
    root: Path, loader: Loader, around: Bystander
) -> None:
    """The newest one's fault is told, by its whole path."""
    (add_version(root, "feed", "2") / "manifest.json").unlink()
    (root / "feed" / "1" / "manifest.json").unlink()

    with pytest.raises(BundleError, match=f"{root}/feed/2/manifest.json: is missing"):
        await ModelRepository(root, loader, around).open()
