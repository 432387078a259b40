"""A pass leaves the interpreter's lock alone: what it is given has another owner, in C++, as long as it runs.

Without one torch takes the lock in the middle of a pass, to release the Python object of each tensor that it drops.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from service.bundles import load_model
from service.models import LoadedModel
from service.runtime import InferencePool, TorchScriptRanker, _Held, _history_tensors, _request_tensors
from service.settings import Settings
from tests.service.test_runtime import candidates, history


@pytest.fixture(scope="module")
def model(repository: Path) -> Iterator[LoadedModel]:
    pool = InferencePool(threads=1)
    yield load_model(repository / "feed" / "1", pool, Settings(non_amortized_chunk=4))
    pool.close()


def test_the_other_owner_keeps_a_tensor_that_nobody_else_has() -> None:
    """And lets it go with itself."""
    tensor = torch.zeros(3)
    seen = weakref.ref(tensor)
    owner = _Held.of([tensor]).owner

    del tensor
    gc.collect()
    assert seen() is not None
    del owner
    gc.collect()
    assert seen() is None


class Witness:
    """The artifact, and how many references each tensor had that a pass was given."""

    def __init__(self, artifact: Any) -> None:
        self._artifact = artifact
        self.references: list[int] = []

    def encode_history(self, *tensors: torch.Tensor) -> Any:
        self.references += [sys.getrefcount(tensor) for tensor in tensors]
        return self._artifact.encode_history(*tensors)

    def score_candidates(self, encoded: Any, *tensors: torch.Tensor) -> Any:
        keys, values, *others = encoded
        for kind in (keys, values, others, tensors):
            self.references += [sys.getrefcount(tensor) for tensor in kind]
        return self._artifact.score_candidates(encoded, *tensors)


def test_every_tensor_of_a_pass_has_one_more_owner_than_python_knows_of(model: LoadedModel) -> None:
    """Beside a caller who hands tensors over as they come. Those of an encoding are in one more list as well."""
    ranker = model.ranker
    assert isinstance(ranker, TorchScriptRanker)
    past, those = history(model, 5), candidates(model, 3)
    plain, ours = Witness(ranker.artifact), Witness(ranker.artifact)
    with torch.inference_mode():
        asked = _history_tensors(past)
        encoded = plain.encode_history(*asked)
        del asked  # some of it is in the encoding
        embeddings, features = torch.from_numpy(those.embeddings[None]), torch.from_numpy(those.features[None])
        scored = (embeddings, features, *_request_tensors(those))
        del embeddings, features
        plain.score_candidates(encoded, *scored)

        watched = TorchScriptRanker(ours, model.manifest, ranker._pool, ranker.chunking)
        watched.score(watched.encode(past), those)

    more = [held - alone for held, alone in zip(ours.references, plain.references, strict=True)]
    request = more[-len(scored) :]
    assert more[: -len(scored)] == [1] * 4 + [2] * (2 * model.manifest.layers + 3)
    assert min(request) >= 1  # names of the caller's own count too
