"""Bundles that are damaged, foreign, newer than this torch, or wrong are refused by file; good ones load, also beside
requests."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.bundle import BundleError, Manifest, read_manifest, sha256
from service.bundles import load_beside, load_model
from service.inputs import CandidateArrays, HistoryArrays
from service.runtime import InferencePool
from service.settings import Settings

SETTINGS = Settings(microbatch_size=16, non_amortized_chunk=4)


@pytest.fixture(scope="module")
def pool() -> Iterator[InferencePool]:
    pool = InferencePool(threads=2)
    yield pool
    pool.close()


@pytest.fixture
def bundle(repository: Path, tmp_path: Path) -> Path:
    """A copy of the feed bundle, to damage."""
    return shutil.copytree(repository / "feed" / "1", tmp_path / "feed" / "1")


def rewrite_manifest(bundle: Path, **changes: Any) -> None:
    fields = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**fields, **changes}))


def refusal(bundle: Path, pool: InferencePool) -> BundleError:
    """Both ways to load refuse alike."""
    with pytest.raises(BundleError) as refused:
        load_model(bundle, pool, SETTINGS)
    with pytest.raises(BundleError) as beside:
        asyncio.run(load_beside(bundle, pool, SETTINGS))
    assert beside.value.file == refused.value.file
    return refused.value


@pytest.mark.parametrize("file", ["ranker.pt", "items.safetensors", "golden.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_a_tampered_half_written_or_missing_file_is_refused_by_name(
    bundle: Path, pool: InferencePool, file: str, how: str
) -> None:
    """Whatever happened to a file, the message says which one."""
    data = bytearray((bundle / file).read_bytes())
    data[len(data) // 2] ^= 1
    if how == "missing":
        (bundle / file).unlink()
    else:
        (bundle / file).write_bytes(data if how == "flipped" else data[: len(data) // 2])

    assert refusal(bundle, pool).file == file


def test_a_manifest_that_is_damaged_or_missing_is_refused(bundle: Path, pool: InferencePool) -> None:
    """Half a manifest is none."""
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text[: len(text) // 2])
    assert refusal(bundle, pool).file == "manifest.json"

    (bundle / "manifest.json").unlink()
    assert refusal(bundle, pool).file == "manifest.json"


@pytest.mark.parametrize("version", ["999.0.0", f"{torch.__version__.split('.')[0]}.999.0", "unknown"])
def test_a_bundle_of_a_newer_torch_is_refused(bundle: Path, pool: InferencePool, version: str) -> None:
    """A newer minor may write what this one reads wrongly."""
    rewrite_manifest(bundle, torch_version=version)

    refused = refusal(bundle, pool)

    assert refused.file == "manifest.json"
    assert "torch" in refused.reason


def test_an_older_torch_and_a_newer_patch_are_accepted(bundle: Path, pool: InferencePool) -> None:
    """Only the minor version counts."""
    major, minor = torch.__version__.split(".")[:2]
    rewrite_manifest(bundle, torch_version=f"{major}.{minor}.999")
    assert load_model(bundle, pool, SETTINGS)

    rewrite_manifest(bundle, torch_version="1.13.1")
    assert load_model(bundle, pool, SETTINGS)


def test_a_ranker_that_misses_its_golden_logits_is_refused(bundle: Path, pool: InferencePool) -> None:
    """Intact files, another answer: the manifest's hashes alone would let it pass."""
    golden = json.loads((bundle / "golden.json").read_text())
    golden[-1]["logits"]["values"][0] += 0.01
    (bundle / "golden.json").write_text(json.dumps(golden))
    hashes = read_manifest(bundle).files
    rewrite_manifest(bundle, files={**hashes, "golden.json": sha256(bundle / "golden.json")})

    refused = refusal(bundle, pool)

    assert refused.file == "ranker.pt"
    assert "golden" in refused.reason


def test_a_ranker_with_nan_weights_is_refused(bundle: Path, pool: InferencePool) -> None:
    """It fails its golden cases at load, before any request could."""
    artifact = torch.jit.load(str(bundle / "ranker.pt"))
    with torch.no_grad():
        for parameter in artifact.parameters():
            parameter.fill_(float("nan"))
    torch.jit.save(artifact, str(bundle / "ranker.pt"))
    hashes = read_manifest(bundle).files
    rewrite_manifest(bundle, files={**hashes, "ranker.pt": sha256(bundle / "ranker.pt")})

    assert refusal(bundle, pool).file == "ranker.pt"


def test_a_file_that_is_no_torchscript_is_refused(bundle: Path, pool: InferencePool) -> None:
    """The hash may match and the file still be something else, a pickle for one."""
    torch.save({"not": "a ranker"}, bundle / "ranker.pt")
    hashes = read_manifest(bundle).files
    rewrite_manifest(bundle, files={**hashes, "ranker.pt": sha256(bundle / "ranker.pt")})

    assert refusal(bundle, pool).file == "ranker.pt"


def test_an_ads_bundle_loads_beside_the_feed(
    export: Callable[[Path, str, int], Manifest], tmp_path: Path, pool: InferencePool
) -> None:
    """One pool runs the rankers of both surfaces."""
    export(tmp_path / "ads" / "3", "ads", 3)

    assert load_model(tmp_path / "ads" / "3", pool, SETTINGS).manifest.surface == "ads"


@pytest.mark.parametrize("threads", [1, 2])
async def test_a_bundle_loads_beside_requests(repository: Path, threads: int) -> None:
    """Every thread is busy with requests all the time: the load takes its turns and ends, no request fails, and the
    model answers as the one that was loaded alone."""
    pool = InferencePool(threads)
    settings = Settings(inference_threads=threads, microbatch_size=16)
    alone = await asyncio.to_thread(load_model, repository / "feed" / "1", pool, settings)
    history, candidates = HistoryArrays.blank(alone.manifest, 24), CandidateArrays.blank(alone.manifest, 200)
    loaded = asyncio.Event()
    answered = 0

    async def ask() -> None:
        nonlocal answered
        while not loaded.is_set():
            await alone.ranker.score_non_amortized(history, candidates)
            answered += 1

    asking = [asyncio.create_task(ask()) for _ in range(2 * threads)]
    beside = await load_beside(repository / "feed" / "1", pool, settings)
    during = answered
    loaded.set()
    await asyncio.gather(*asking)

    expected = await alone.ranker.score_non_amortized(history, candidates)
    scored = await beside.ranker.score_candidates(await beside.ranker.encode_history(history), candidates)
    np.testing.assert_allclose(scored.logits, expected.logits, rtol=1e-5, atol=1e-5)
    assert during > 0
    pool.close()
