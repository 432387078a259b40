"""Bundles: from a bundle's directory to a model that is verified, rehearsed and ready to rank.

It does not know what a ranker computes, where bundles lie, or which of them serves.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from model.bundle import GOLDEN_FILE, GoldenCase, Manifest, load_golden, read_items, read_manifest, verify
from service.chunking import CHUNKS, Chunking
from service.items import Items
from service.memory import give_back
from service.models import LoadedModel, refuse_newer_torch
from service.rehearsal import Step, chunk_trials, replays, warm_ups
from service.runtime import TORCH_VERSION, InferencePool, TorchScriptRanker, load_artifact
from service.settings import Settings
from service.spare_threads import SpareThreads

PATIENCE_SECONDS = 0.05
"""How long a step of a bundle that is to be loaded waits for a thread that nobody needs."""


class _Read(NamedTuple):
    """A verified bundle whose ranker has not run yet."""

    manifest: Manifest
    items: Items
    ranker: TorchScriptRanker
    golden: list[GoldenCase]

    def rehearsed(self, pool: InferencePool) -> LoadedModel:
        spare = TorchScriptRanker(self.ranker.artifact, self.manifest, SpareThreads(pool), self.ranker.chunking)
        return LoadedModel(self.manifest, self.items, self.ranker, spare)


def load_model(directory: Path, pool: InferencePool, settings: Settings) -> LoadedModel:
    """Verify, load, replay and warm the bundle at `directory`; blocks, with the pool to itself. Raises BundleError
    naming the file at fault."""
    read = _read(directory, pool, settings)
    for replay in replays(read.ranker, read.golden):
        pool.run(replay)

    def warm_up() -> None:
        for step in warm_ups(read.ranker):
            step()

    pool.run_on_each(warm_up)
    if settings.non_amortized_chunk is None:
        for trial in chunk_trials(read.ranker):
            pool.run(trial)
    return read.rehearsed(pool)


async def load_beside(directory: Path, pool: InferencePool, settings: Settings) -> LoadedModel:
    """The same while the pool ranks: one thread at a time, one pass at a time, as far as possible a spare one.

    No thread is asked by name: the passes that warm one are repeated for each, and land where there is time.
    """
    read = await asyncio.to_thread(_read, directory, pool, settings)
    steps = [*replays(read.ranker, read.golden), *list(warm_ups(read.ranker)) * settings.inference_threads]
    if settings.non_amortized_chunk is None:
        steps += chunk_trials(read.ranker)
    for step in steps:
        await _patiently(pool, step)
    await asyncio.to_thread(give_back)
    return read.rehearsed(pool)


def _read(directory: Path, pool: InferencePool, settings: Settings) -> _Read:
    manifest = read_manifest(directory)
    refuse_newer_torch(manifest, TORCH_VERSION)
    verify(directory, manifest)
    items = Items(read_items(directory, manifest))
    spread = settings.intra_op_threads or settings.inference_threads
    chunking = Chunking(settings.microbatch_size, settings.non_amortized_chunk or CHUNKS[-1], spread)
    ranker = TorchScriptRanker(load_artifact(directory, manifest), manifest, pool, chunking)
    return _Read(manifest, items, ranker, load_golden(directory / GOLDEN_FILE))


async def _patiently(pool: InferencePool, step: Step) -> None:
    """Run on a spare thread; under full load there is none, and after a while the step takes its turn."""
    spared = pool.submit_background(step)
    await asyncio.wait([spared], timeout=PATIENCE_SECONDS)
    if not spared.done():
        pool.hurry(spared)
    await spared
