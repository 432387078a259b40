"""What the tests of hot reloads share: a repository that grows, wrong bundles, and surroundings that note things."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from model.bundle import Manifest, Surface, read_items, read_manifest, sha256
from service.items import Items
from service.models import LoadedModel
from service.repository import LoadResult, ModelRepository
from service.schemas import Candidate, RankRequest
from tests.fakes import FakeRanker
from tests.live import Live


class Bystander:
    """Surroundings that note what they are told. `error` is raised by every admission."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.others: list[str] = []
        self.changes: list[tuple[Surface, str | None, str | None]] = []
        self.counts: list[tuple[Surface, LoadResult]] = []

    @asynccontextmanager
    async def admitted(self, model: LoadedModel, others: Sequence[Manifest]) -> AsyncIterator[None]:
        self.others = [other.version for other in others]
        if self.error is not None:
            raise self.error
        yield

    def changed(self, serving: Mapping[Surface, LoadedModel], surface: Surface, old: LoadedModel | None) -> None:
        new = serving.get(surface)
        self.changes.append((surface, old and old.manifest.version, new and new.manifest.version))

    def counted(self, surface: Surface, result: LoadResult) -> None:
        self.counts.append((surface, result))


class Loader:
    """Loads manifest and items, without torch; waits for `gate`. `error` is raised instead."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self, directory: Path) -> LoadedModel:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        manifest = read_manifest(directory)
        return LoadedModel(manifest, Items(read_items(directory, manifest)), FakeRanker(len(manifest.tasks)))


def add_version(root: Path, surface: str, version: str) -> Path:
    copy = shutil.copytree(root / surface / "1", root / surface / version)
    manifest = read_manifest(copy).model_copy(update={"version": version})
    (copy / "manifest.json").write_text(manifest.model_dump_json())
    return copy


def states(models: ModelRepository) -> dict[str, str]:
    return {f"{entry.name}/{entry.version}": entry.state for entry in models.index()}


def reason(models: ModelRepository, version: str, name: str = "feed") -> str:
    return next(entry.reason for entry in models.index() if (entry.name, entry.version) == (name, version))


def add(root: Path) -> Path:
    """The new version arrives."""
    return shutil.copytree(root.parent / "new", root / "feed" / "2")


def scores(live: Live, **fields: Any) -> tuple[str, dict[str, float]]:
    request = RankRequest("m", "feed", [Candidate(f"item-{i}") for i in range(1, 21)], **fields)
    response = live.client.rank(request).response
    return response.model.version, {candidate.id: candidate.score for candidate in response.ranked}


def index(live: Live) -> dict[str, tuple[str, str]]:
    return {f"{entry.name}/{entry.version}": (entry.state, entry.reason) for entry in live.client.models()}


def spoil(bundle: Path, how: str) -> str:
    """Make a bundle wrong in one way; the words by which the refusal names it."""
    fields = json.loads((bundle / "manifest.json").read_text())
    if how == "truncated":  # what a copy leaves behind when the disk is full
        data = (bundle / "ranker.pt").read_bytes()
        (bundle / "ranker.pt").write_bytes(data[: len(data) // 2])
        return "ranker.pt: differs from the manifest's sha256"
    if how == "incomplete":
        (bundle / "manifest.json").unlink()
        return "manifest.json: is missing"
    if how == "golden":
        golden = json.loads((bundle / "golden.json").read_text())
        golden[0]["logits"]["values"][0] += 0.5
        (bundle / "golden.json").write_text(json.dumps(golden))
        fields["files"]["golden.json"] = sha256(bundle / "golden.json")
        told = "ranker.pt: golden logits differ"
    elif how == "torch":
        fields["torch_version"], told = "999.0", "manifest.json: needs torch 999.0"
    elif how == "surface":
        fields["name"], told = "ads", "manifest.json: says ads/2"
    elif how == "nonsense":
        (bundle / "ranker.pt").write_bytes(b"not a ranker")
        fields["files"]["ranker.pt"], told = sha256(bundle / "ranker.pt"), "ranker.pt: cannot be loaded"
    (bundle / "manifest.json").write_text(json.dumps(fields))
    return told
