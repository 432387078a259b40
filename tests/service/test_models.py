"""ModelRepository: the newest version of each surface, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.bundle import BundleError, read_items, read_manifest
from service.errors import ModelUnavailable
from service.items import Items
from service.models import LoadedModel, ModelRepository
from tests.fakes import FakeRanker


def load(directory: Path) -> LoadedModel:
    """A model with a real manifest and items, and no torch."""
    manifest = read_manifest(directory)
    return LoadedModel(manifest, Items(read_items(directory, manifest)), FakeRanker(len(manifest.tasks)))


@pytest.fixture
def root(repository: Path, tmp_path: Path) -> Path:
    """A copy of the repository, to change."""
    return shutil.copytree(repository, tmp_path / "models")


def add_version(root: Path, surface: str, version: str) -> None:
    copy = shutil.copytree(root / surface / "1", root / surface / version)
    manifest = read_manifest(copy).model_copy(update={"version": version})
    (copy / "manifest.json").write_text(manifest.model_dump_json())


def test_each_surface_is_served_by_its_newest_version(root: Path) -> None:
    """Versions are numbers: 10 is newer than 9."""
    for version in ("9", "10"):
        add_version(root, "feed", version)
    models = ModelRepository(root, load)

    models.open()

    assert models.get("feed").manifest.version == "10"
    assert models.get("ads").manifest.version == "1"
    assert set(models.serving) == {"feed", "ads"}


def test_a_surface_without_a_bundle_is_unavailable_and_the_other_serves(root: Path) -> None:
    """A feed alone is a service."""
    shutil.rmtree(root / "ads")
    models = ModelRepository(root, load)

    models.open()

    assert models.get("feed")
    with pytest.raises(ModelUnavailable):
        models.get("ads")


def test_a_repository_without_any_bundle_is_refused(tmp_path: Path) -> None:
    """It says where it looked for what."""
    with pytest.raises(BundleError, match="holds no bundle"):
        ModelRepository(tmp_path, load).open()


def test_a_bundle_in_the_wrong_folder_is_refused(root: Path) -> None:
    """An ads bundle copied under feed/2 is not a feed ranker."""
    shutil.copytree(root / "ads" / "1", root / "feed" / "2")

    with pytest.raises(BundleError, match="not its folder"):
        ModelRepository(root, load).open()


def test_a_version_that_cannot_be_loaded_leaves_the_one_before_serving(root: Path) -> None:
    """What a reload and a rollback build on."""
    models = ModelRepository(root, load)
    models.open()
    before = models.get("feed")

    with pytest.raises(BundleError):
        models.serve("feed", "2")

    assert models.get("feed") is before


def test_an_identity_names_the_very_file(root: Path) -> None:
    """Name, version and what the ranker's bytes hash to."""
    model = load(root / "feed" / "1")

    assert model.identity.startswith("feed/1/")
    assert model.manifest.files["ranker.pt"].startswith(model.identity.split("/")[2])
