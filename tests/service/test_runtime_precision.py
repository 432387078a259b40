"""A bundle of reduced precision goes through the same runtime as any other, in both modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from model.bundle import ItemTable, Surface
from model.config import RankerConfig
from model.export import export_bundle
from model.ranker import Ranker
from service.bundles import load_model
from service.chunking import Chunking
from service.models import LoadedModel
from service.runtime import InferencePool, TorchScriptRanker
from service.settings import Settings
from tests.conftest import ACTIONS, CONTEXT, SURFACES
from tests.service.test_runtime import candidates, history


@pytest.fixture(scope="module")
def pool() -> Iterator[InferencePool]:
    pool = InferencePool(threads=2)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory,
    items: ItemTable,
    config: Callable[[Surface], RankerConfig],
    pool: InferencePool,
) -> dict[str, LoadedModel]:
    """One ranker, exported and loaded in both precisions."""
    torch.manual_seed(11)
    ranker = Ranker(config("feed"))
    tasks, features = SURFACES["feed"]
    root = tmp_path_factory.mktemp("precisions")
    for version, precision in (("1", "fp32"), ("2", "bf16")):
        export_bundle(
            root / "feed" / version,
            ranker,
            config("feed"),
            items,
            surface="feed",
            tasks=tasks,
            actions=ACTIONS,
            features=features,
            context=CONTEXT,
            precision=precision,  # type: ignore[arg-type]
        )
    settings = Settings(microbatch_size=16, non_amortized_chunk=4)
    return {
        precision: load_model(root / "feed" / version, pool, settings)
        for version, precision in (("1", "fp32"), ("2", "bf16"))
    }


@pytest.mark.parametrize(("length", "size"), [(0, 17), (1, 1), (13, 33), (24, 50)])
async def test_both_modes_are_the_float32_ranker_to_the_manifests_tolerance(
    models: dict[str, LoadedModel], length: int, size: int
) -> None:
    """In microbatches, in one pass and candidate by candidate."""
    ranker, manifest = models["bf16"].ranker, models["bf16"].manifest
    assert isinstance(ranker, TorchScriptRanker)
    whole = TorchScriptRanker(ranker.artifact, manifest, ranker._pool, Chunking(1000, 1000))
    past, those = history(models["fp32"], length), candidates(models["fp32"], size)
    expected = (await models["fp32"].ranker.score_non_amortized(past, those)).logits

    for scored in (
        await ranker.score_candidates(await ranker.encode_history(past), those),
        await whole.score_candidates(await whole.encode_history(past), those),
        await ranker.score_non_amortized(past, those),
    ):
        assert scored.logits.dtype == np.float32
        assert np.all(np.abs(scored.logits - expected) <= manifest.golden_tolerance * np.maximum(1.0, np.abs(expected)))


async def test_an_encoded_history_takes_about_half_the_room(models: dict[str, LoadedModel]) -> None:
    """The cache of encoded histories is bounded in bytes, so it holds about twice as many members."""
    past = history(models["fp32"], 24)
    sizes = {name: (await model.ranker.encode_history(past)).nbytes for name, model in models.items()}

    assert 0.5 < sizes["bf16"] / sizes["fp32"] < 0.6


async def test_explanations_stay_float32(models: dict[str, LoadedModel]) -> None:
    """What leaves the runtime is float32 shares, near the other precision's."""
    past, those = history(models["fp32"], 13), candidates(models["fp32"], 5)
    shares = {
        name: await model.ranker.explain(await model.ranker.encode_history(past), those)
        for name, model in models.items()
    }

    assert shares["bf16"].dtype == np.float32
    assert np.abs(shares["bf16"] - shares["fp32"]).max() < models["bf16"].manifest.golden_tolerance
