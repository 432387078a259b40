"""A ranker at reduced precision is the trained one to a tolerance, in either mode and whoever else is ranked."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from model.bundle import Surface
from model.config import Encoder, RankerConfig
from model.encoders import of_parts
from model.heads import CrossLayer
from model.precision import TOLERANCE, ReducedCrossLayer, ReducedLinear, at_precision
from model.ranker import Ranker, build_ranker

HISTORY, CANDIDATES = 19, 33


@pytest.fixture
def ranker(config: Callable[[Surface], RankerConfig]) -> Ranker:
    """Random weights, with biases and norms that matter."""
    torch.manual_seed(3)
    ranker = Ranker(config("feed")).eval()
    for parameter in ranker.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return ranker


def inputs(history: int = HISTORY) -> tuple[Tensor, ...]:
    """One request to the fixture's ranker: what `forward` takes."""
    torch.manual_seed(4)
    return (
        torch.randn(1, history, 16),
        torch.randint(3, (1, history)),
        torch.arange(history)[None],
        torch.ones(1, history, dtype=torch.bool),
        torch.randn(1, CANDIDATES, 16),
        torch.randn(1, CANDIDATES, 2),
        torch.randn(1, 1),
        torch.randn(1, 4),
        torch.tensor([history]),
    )


def far(logits: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to max(1, |expected|)."""
    return float(((logits - expected).abs() / expected.abs().clamp(min=1.0)).max())


@pytest.mark.parametrize("history", [0, 1, HISTORY])
@torch.inference_mode()
def test_bf16_logits_are_the_trained_rankers_to_the_tolerance(ranker: Ranker, history: int) -> None:
    """They differ, since they are computed otherwise, but by less than the tolerance; they are float32."""
    request = inputs(history)
    expected, logits = ranker(*request), at_precision(ranker, "bf16")(*request)

    assert logits.dtype == torch.float32
    assert 0.0 < far(logits, expected) <= TOLERANCE["bf16"]


@torch.inference_mode()
def test_a_candidate_alone_scores_as_among_others(ranker: Ranker) -> None:
    """Candidate isolation and parity to the tolerance: nothing is scaled by what else is in the batch."""
    reduced = at_precision(ranker, "bf16")
    *history, candidates, features, context, meta, time = inputs()
    wild = candidates.clone()
    wild[:, 1:] *= 1000.0  # a scale taken from the whole tensor would leave nothing of the first candidate
    among = reduced(*history, wild, features, context, meta, time)
    alone = reduced(*history, candidates[:, :1], features[:, :1], context, meta, time)

    assert far(among[:, :1], alone) <= TOLERANCE["bf16"]


@torch.inference_mode()
def test_an_encoded_history_takes_half_the_room_and_explains(ranker: Ranker) -> None:
    """Keys and values are bfloat16; the shares of attention are float32 as ever."""
    reduced = at_precision(ranker, "bf16")
    *history, candidates, _, _, _, time = inputs()
    encoded, before = of_parts(reduced.encode_history(*history)), of_parts(ranker.encode_history(*history))

    for ours, theirs in zip([*encoded.keys, *encoded.values], [*before.keys, *before.values], strict=True):
        assert ours.dtype == torch.bfloat16
        assert ours.shape == theirs.shape
    explained = reduced.explain_candidates(encoded, candidates, time)
    assert explained.dtype == torch.float32
    assert far(explained, ranker.explain_candidates(before, candidates, time)) <= TOLERANCE["bf16"]


@torch.inference_mode()
def test_the_trained_ranker_is_left_as_it_was(ranker: Ranker) -> None:
    """Reducing copies; float32 is the ranker itself."""
    before = ranker(*inputs())
    at_precision(ranker, "bf16")

    assert torch.equal(ranker(*inputs()), before)
    assert at_precision(ranker, "fp32") is ranker


def test_what_is_not_offered_is_refused(ranker: Ranker) -> None:
    """int8 would let candidates change each other's scores, or cost more than it saves."""
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16, got 'int8'"):
        at_precision(ranker, "int8")  # type: ignore[arg-type]


def test_hstu_is_not_offered_reduced(config: Callable[[Surface, Encoder], RankerConfig]) -> None:
    """Its products are others; who asks is told."""
    with pytest.raises(ValueError, match="for Transformers only"):
        at_precision(build_ranker(config("feed", "hstu")), "bf16")


@torch.inference_mode()
def test_a_causal_ranker_is_reduced_with_its_extension(config: Callable[[Surface, Encoder], RankerConfig]) -> None:
    """Extended in bfloat16, the logits are the trained ranker's to the tolerance."""
    torch.manual_seed(3)
    trained: Any = build_ranker(config("feed", "causal_transformer")).eval()
    reduced: Any = at_precision(trained, "bf16")
    *history, candidates, features, context, meta, time = inputs()
    first, rest = ([part[:, chosen] for part in history] for chosen in (slice(7), slice(7, None)))
    encoded = reduced.extend_history(reduced.encode_history(*first), *rest)

    assert all(tensor.dtype == torch.bfloat16 for tensor in of_parts(encoded).keys)
    logits = reduced.score_candidates(encoded, candidates, features, context, meta, time)
    assert far(logits, trained(*inputs())) <= TOLERANCE["bf16"]


@torch.inference_mode()
def test_it_scripts_and_freezes(ranker: Ranker) -> None:
    """The frozen TorchScript module gives the eager one's logits."""
    reduced = at_precision(ranker, "bf16")
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(reduced), file)
    file.seek(0)
    frozen: Any = torch.jit.freeze(torch.jit.load(file), preserved_attrs=["encode_history", "score_candidates"])

    for _ in range(3):  # profiled, specialised, specialised
        assert far(frozen(*inputs()), reduced(*inputs())) <= TOLERANCE["bf16"]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("wide", [False, True])
@torch.inference_mode()
def test_without_bf16_units_the_product_is_the_same(monkeypatch: pytest.MonkeyPatch, relu: bool, wide: bool) -> None:
    """A machine without them computes the same function to a rounding, for no rows at all too."""
    torch.manual_seed(0)
    linear = ReducedLinear(torch.randn(5, 32), torch.randn(5), relu=relu, wide=wide)
    for rows in (torch.randn(7, 32), torch.randn(0, 32)):
        with monkeypatch.context() as patch:
            native = linear(rows)
            patch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
            plain = linear(rows)

        assert native.dtype == plain.dtype == (torch.float32 if wide else torch.bfloat16)
        torch.testing.assert_close(native, plain, rtol=2**-7, atol=2**-7)
        assert not relu or bool((plain >= 0).all())


@torch.inference_mode()
def test_a_cross_layer_keeps_its_padding_zero() -> None:
    """The columns that pad the width are 0 before and after, and the others are the layer's to a rounding."""
    torch.manual_seed(0)
    layer = CrossLayer(21)
    rows = torch.nn.functional.pad(torch.randn(6, 21), (0, layer.padding))
    crossed = ReducedCrossLayer(layer)(rows, rows)

    assert not crossed[:, 21:].any()
    torch.testing.assert_close(crossed, layer(rows, rows), rtol=2**-6, atol=2**-6)
