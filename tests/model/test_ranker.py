"""The properties of amortized inference, on the TorchScript artifact that a service would load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.bundle import RANKER_FILE, GoldenCase, Manifest, Surface
from model.check import replay, replay_non_amortized
from model.config import Encoder, RankerConfig
from model.encoders import of_parts
from model.reference import reference_logits

LENGTHS = st.integers(0, 24)
COUNTS = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)
properties = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module", params=get_args(Encoder))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Each encoder: whatever it is, the properties are the same."""
    return request.param


@pytest.fixture(scope="module")
def artifact(
    encoder: Encoder,
    tmp_path_factory: pytest.TempPathFactory,
    export: Callable[[Path, Surface, int, Encoder], Manifest],
) -> Any:
    """A feed bundle's scripted ranker, loaded from its file."""
    bundle = tmp_path_factory.mktemp(encoder) / "feed" / "1"
    export(bundle, "feed", 1, encoder)
    return torch.jit.load(bundle / RANKER_FILE)


@pytest.fixture(scope="module")
def feed(encoder: Encoder, config: Callable[[Surface, Encoder], RankerConfig]) -> RankerConfig:
    """The config that the bundle was exported with."""
    return config("feed", encoder)


def request(config: RankerConfig, length: int, count: int, seed: int) -> GoldenCase:
    """A random request of `length` actions and `count` candidates; its logits are not filled in."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    return GoldenCase(
        embeddings=normal(length, config.embedding_dim),
        actions=rng.integers(0, config.actions, length),
        timestamps=np.sort(rng.integers(0, 2**41, length)),
        candidates=normal(count, config.embedding_dim),
        features=normal(count, config.features),
        context=normal(config.context),
        meta=normal(config.meta_dim),
        request_time=2**41,
        logits=np.zeros((count, config.tasks), np.float32),
    )


def assert_same(expected: NDArray[Any], actual: NDArray[Any]) -> None:
    """Equal to the house's parity tolerance: |Δ| ≤ 1e-5 · max(1, |logit|)."""
    assert expected.shape == actual.shape
    assert np.all(np.abs(expected - actual) <= 1e-5 * np.maximum(1.0, np.abs(expected)))


@properties
@given(length=LENGTHS, count=COUNTS, seed=SEEDS)
def test_equals_the_slow_reference(artifact: Any, feed: RankerConfig, length: int, count: int, seed: int) -> None:
    """The artifact computes what the papers' equations say, at any T and C, T = 0 included."""
    case = request(feed, length, min(count, 5), seed)

    assert_same(reference_logits(artifact.state_dict(), feed, case), replay(artifact, case))


@properties
@given(length=LENGTHS, count=COUNTS, seed=SEEDS)
def test_amortized_equals_non_amortized(artifact: Any, feed: RankerConfig, length: int, count: int, seed: int) -> None:
    """Encoding the history once gives the logits of encoding it for each candidate."""
    case = request(feed, length, count, seed)

    assert_same(replay_non_amortized(artifact, case), replay(artifact, case))


@properties
@given(length=LENGTHS, count=COUNTS, seed=SEEDS)
def test_microbatches_over_one_encoded_history_equal_one_pass(
    artifact: Any, feed: RankerConfig, length: int, count: int, seed: int
) -> None:
    """Slices of the candidates, scored one after another over the same encoding, give the same logits."""
    case = request(feed, length, count, seed)
    encoded = encode(artifact, case)
    cut = seed % count

    parts = [score(artifact, encoded, case, chosen) for chosen in (slice(0, cut), slice(cut, count))]

    assert_same(replay(artifact, case), np.concatenate(parts))


@properties
@given(length=LENGTHS, count=COUNTS, seed=SEEDS)
def test_a_logit_depends_on_no_other_candidate(
    artifact: Any, feed: RankerConfig, length: int, count: int, seed: int
) -> None:
    """Neither the number, the order nor the contents of the other candidates move a logit."""
    case = request(feed, length, count, seed)
    order = np.random.default_rng(seed).permutation(count)
    shuffled = case._replace(candidates=case.candidates[order], features=case.features[order])
    others = request(feed, length, count, seed + 1)
    joined = case._replace(
        candidates=np.concatenate([case.candidates, others.candidates]),
        features=np.concatenate([case.features, others.features]),
    )

    assert_same(replay(artifact, case)[order], replay(artifact, shuffled))
    assert_same(replay(artifact, case), replay(artifact, joined)[:count])


@properties
@given(length=st.integers(0, 20), count=COUNTS, padding=st.integers(1, 4), seed=SEEDS)
def test_padding_the_history_changes_nothing(
    artifact: Any, feed: RankerConfig, length: int, count: int, padding: int, seed: int
) -> None:
    """Masked actions on the right, whatever they hold, leave every logit as it was."""
    case = request(feed, length, count, seed)
    junk = request(feed, padding, 1, seed + 1)
    mask = torch.tensor([[True] * length + [False] * padding])
    with torch.inference_mode():
        padded = artifact(
            torch.from_numpy(np.concatenate([case.embeddings, junk.embeddings * 50]))[None],
            torch.from_numpy(np.concatenate([case.actions, junk.actions]))[None],
            torch.from_numpy(np.concatenate([case.timestamps, junk.timestamps]))[None],
            mask,
            *scoring_inputs(case, slice(None)),
        )

    assert_same(replay(artifact, case), padded[0].numpy())


def test_an_empty_history_has_scores_of_its_own(artifact: Any, feed: RankerConfig) -> None:
    """T = 0 is defined and finite, and not the answer for some history."""
    cold = request(feed, 0, 4, seed=1)
    warm = request(feed, 3, 4, seed=1)._replace(candidates=cold.candidates, features=cold.features)

    assert np.isfinite(replay(artifact, cold)).all()
    assert np.abs(replay(artifact, cold) - replay(artifact, warm)).max() > 1e-3


def test_every_history_action_matters(artifact: Any, feed: RankerConfig) -> None:
    """Changing any one action moves the logits: nothing of the history is dropped on the way."""
    case = request(feed, 6, 3, seed=2)
    other = request(feed, 6, 3, seed=3)
    for index in range(6):
        embeddings = case.embeddings.copy()
        embeddings[index] = other.embeddings[index]

        assert np.abs(replay(artifact, case) - replay(artifact, case._replace(embeddings=embeddings))).max() > 1e-3


def test_members_of_a_batch_do_not_meet(artifact: Any, feed: RankerConfig) -> None:
    """Two members in one batch get the logits they get alone."""
    cases = [request(feed, 7, 5, seed) for seed in (3, 4)]
    with torch.inference_mode():
        together = artifact(
            torch.stack([torch.from_numpy(c.embeddings) for c in cases]),
            torch.stack([torch.from_numpy(c.actions) for c in cases]),
            torch.stack([torch.from_numpy(c.timestamps) for c in cases]),
            torch.ones(2, 7, dtype=torch.bool),
            *[torch.cat(parts) for parts in zip(*(scoring_inputs(c, slice(None)) for c in cases), strict=True)],
        )

    for case, logits in zip(cases, together.numpy(), strict=True):
        assert_same(replay(artifact, case), logits)


def test_of_the_last_layer_only_keys_and_values_are_computed(artifact: Any, feed: RankerConfig) -> None:
    """The encoding touches nothing of the last layer but its norm, key and value, and the cold-start key."""
    case = request(feed, 5, 1, seed=5)
    before = of_parts(encode(artifact, case))
    state = {name: value.clone() for name, value in artifact.state_dict().items()}
    last = f"encoder.layers.{feed.layers - 1}."
    read = (last + "attention_norm", last + "norm", last + "key_value", last + "sink")
    try:
        for name, value in artifact.state_dict().items():
            if name.startswith(last) and not name.startswith(read):
                value.fill_(float("nan"))
        after = of_parts(encode(artifact, case))
    finally:
        artifact.load_state_dict(state)

    for old, new in zip([*before.keys, *before.values], [*after.keys, *after.values], strict=True):
        assert torch.equal(old, new)


def test_explanations_are_shares_of_attention(artifact: Any, feed: RankerConfig) -> None:
    """Each candidate's weights are at least 0 and, without the cold-start key's share, sum to less than 1."""
    case = request(feed, 9, 6, seed=6)
    with torch.inference_mode():
        attention = artifact.explain_candidates(
            encode(artifact, case), torch.from_numpy(case.candidates)[None], torch.tensor([case.request_time])
        )

    assert attention.shape == (1, 6, 9)
    assert (attention >= 0).all()
    assert (attention.sum(dim=2) < 1).all()
    assert (attention.sum(dim=2) > 0).all()


def test_an_encoding_is_a_plain_tuple(artifact: Any, feed: RankerConfig) -> None:
    """For a named one torch would make a class in every call."""
    assert type(encode(artifact, request(feed, 5, 1, seed=8))) is tuple


def encode(artifact: Any, case: GoldenCase) -> Any:
    """The case's encoded history."""
    with torch.inference_mode():
        return artifact.encode_history(
            torch.from_numpy(case.embeddings)[None],
            torch.from_numpy(case.actions)[None],
            torch.from_numpy(case.timestamps)[None],
            torch.ones(1, len(case.actions), dtype=torch.bool),
        )


def scoring_inputs(case: GoldenCase, chosen: slice) -> tuple[torch.Tensor, ...]:
    """What score_candidates reads beside the encoded history, for a slice of the candidates."""
    return (
        torch.from_numpy(case.candidates[chosen])[None],
        torch.from_numpy(case.features[chosen])[None],
        torch.from_numpy(case.context)[None],
        torch.from_numpy(case.meta)[None],
        torch.tensor([case.request_time]),
    )


def score(artifact: Any, encoded: Any, case: GoldenCase, chosen: slice) -> NDArray[np.float32]:
    """Logits of a slice of the candidates over an encoding."""
    with torch.inference_mode():
        logits: NDArray[np.float32] = artifact.score_candidates(encoded, *scoring_inputs(case, chosen))[0].numpy()
    return logits
