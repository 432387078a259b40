"""A loaded model's identity."""

from __future__ import annotations

from pathlib import Path

from model.bundle import read_items, read_manifest
from service.items import Items
from service.models import LoadedModel
from tests.fakes import FakeRanker


def test_an_identity_names_the_very_file(repository: Path) -> None:
    """Name, version and what the ranker's bytes hash to."""
    manifest = read_manifest(repository / "feed" / "1")
    items = Items(read_items(repository / "feed" / "1", manifest))

    model = LoadedModel(manifest, items, FakeRanker(len(manifest.tasks)))

    assert model.identity.startswith("feed/1/")
    assert model.manifest.files["ranker.pt"].startswith(model.identity.split("/")[2])
