"""Extending an encoded history is encoding the longer one, in TorchScript, however the history is split."""

from __future__ import annotations

import io
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.bundle import GoldenCase
from model.config import Encoder, RankerConfig
from model.encoders import of_parts
from model.ranker import build_ranker
from model.reference import reference_logits

CAUSAL = [encoder for encoder in get_args(Encoder) if encoder != "transformer"]
LONGEST = 150  # more than a block of rows
properties = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module", params=CAUSAL)
def artifact(request: pytest.FixtureRequest) -> Any:
    """A scripted ranker of three layers with loud weights, as it is loaded from its file."""
    torch.manual_seed(0)
    ranker = build_ranker(config(request.param)).eval()
    for parameter in ranker.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(ranker), file)
    file.seek(0)
    return torch.jit.load(file)


def config(encoder: Encoder) -> RankerConfig:
    """Tiny, with room for the longest history."""
    return RankerConfig(
        actions=3, tasks=2, embedding_dim=8, heads=2, layers=3, ffn_dim=16, max_history=LONGEST, slack=50, meta_dim=0,
        head_dim=8, encoder=encoder,
    )  # fmt: skip


def history(length: int, seed: int, batch: int = 1) -> tuple[Tensor, ...]:
    """embeddings, actions, timestamps and mask of `batch` members, all real."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, length, 8, generator=generator),
        torch.randint(3, (batch, length), generator=generator),
        torch.randint(2**41, (batch, length), generator=generator).sort(dim=1).values,
        torch.ones(batch, length, dtype=torch.bool),
    )


def candidates(batch: int = 1) -> tuple[Tensor, ...]:
    """What scoring seven candidates takes."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(1, 7, 8, generator=generator).expand(batch, 7, 8)
    return rows, torch.zeros(batch, 7, 0), torch.zeros(batch, 0), torch.zeros(batch, 0), torch.full((batch,), 2**41)


def logits(artifact: Any, encoded: Any, batch: int = 1) -> Tensor:
    """Of the seven candidates over an encoding."""
    result: Tensor = artifact.score_candidates(encoded, *candidates(batch))
    return result


def assert_same(expected: Tensor, actual: Tensor) -> None:
    """Equal to the house's parity tolerance: |Δ| ≤ 1e-5 · max(1, |logit|)."""
    assert ((expected - actual).abs() <= 1e-5 * expected.abs().clamp(min=1.0)).all()


@properties
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5), seed=st.integers(0, 2**32 - 1))
@torch.inference_mode()
def test_any_split_equals_encoding_from_scratch(artifact: Any, lengths: list[int], seed: int) -> None:
    """Pieces of any sizes, none at all included, appended one after another to whatever was encoded first."""
    whole = history(sum(lengths), seed)
    pieces = [torch.split(part, lengths, dim=1) for part in whole]
    encoded = artifact.encode_history(*(piece[0] for piece in pieces))
    for index in range(1, len(lengths)):
        encoded = artifact.extend_history(encoded, *(piece[index] for piece in pieces))
    expected = artifact.encode_history(*whole)

    assert_same(logits(artifact, expected), logits(artifact, encoded))
    ours, theirs = of_parts(encoded), of_parts(expected)
    assert torch.equal(ours.lengths, theirs.lengths)
    for one, other in zip([*theirs.keys, *theirs.values], [*ours.keys, *ours.values], strict=True):
        assert_same(one, other)


@torch.inference_mode()
def test_many_small_extensions_do_not_drift(artifact: Any) -> None:
    """The longest history, begun from nothing and appended an action at a time, is as if encoded at once."""
    whole = history(LONGEST, seed=5)
    encoded = artifact.encode_history(*(part[:, :0] for part in whole))
    for index in range(LONGEST):
        encoded = artifact.extend_history(encoded, *(part[:, index : index + 1] for part in whole))

    assert_same(logits(artifact, artifact.encode_history(*whole)), logits(artifact, encoded))


@pytest.mark.parametrize("encoder", CAUSAL)
@torch.inference_mode()
def test_a_history_of_several_blocks_equals_the_slow_reference(encoder: Encoder) -> None:
    """Rows that are computed in blocks are what the equations say, encoded at once and in two steps."""
    torch.manual_seed(2)
    ranker: Any = build_ranker(config(encoder)).eval()
    whole = history(LONGEST, seed=6)
    rows, features, context, meta, time = candidates()
    case = GoldenCase(
        *(part[0].numpy() for part in whole[:3]), rows[0, :2].numpy(), features[0, :2].numpy(), context[0].numpy(),
        meta[0].numpy(), int(time), np.zeros((2, 2), np.float32),
    )  # fmt: skip
    expected = torch.from_numpy(reference_logits(ranker.state_dict(), config(encoder), case)).float()
    first = ranker.encode_history(*(part[:, :10] for part in whole))

    for encoded in (
        ranker.encode_history(*whole),
        ranker.extend_history(first, *(part[:, 10:] for part in whole)),
    ):
        assert_same(expected, logits(ranker, encoded)[0, :2])


@properties
@given(
    lengths=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
@torch.inference_mode()
def test_padding_among_the_pieces_changes_nothing(artifact: Any, lengths: list[tuple[int, int]], seed: int) -> None:
    """Two members whose pieces differ in length are padded to the longer, and get what each gets alone."""
    totals = [sum(each) for each in zip(*lengths, strict=True)]
    wholes = [history(total, seed + member) for member, total in enumerate(totals)]
    encoded: Any = None
    done = [0, 0]
    for pair in lengths:
        piece = history(max(pair), seed=9, batch=2)  # what is not overwritten is junk
        piece[3][:] = False
        for member, count in enumerate(pair):
            for part, whole in zip(piece, wholes[member], strict=True):
                part[member, :count] = whole[0, done[member] : done[member] + count]
            done[member] += count
        encoded = artifact.encode_history(*piece) if encoded is None else artifact.extend_history(encoded, *piece)

    together = logits(artifact, encoded, batch=2)
    for member, whole in enumerate(wholes):
        assert_same(logits(artifact, artifact.encode_history(*whole))[0], together[member])


@torch.inference_mode()
def test_extending_leaves_what_was_encoded_as_it_was(artifact: Any) -> None:
    """The shorter encoding is a value: others may be scoring over it, or extend it otherwise."""
    encoded = artifact.encode_history(*history(6, seed=1))
    before = logits(artifact, encoded).clone()
    ours = of_parts(encoded)
    kept = [tensor.clone() for tensor in (*ours.keys, *ours.values)]

    longer = artifact.extend_history(encoded, *history(2, seed=2))

    assert (logits(artifact, longer) - before).abs().max() > 1e-3
    assert torch.equal(logits(artifact, encoded), before)
    assert all(torch.equal(one, other) for one, other in zip(kept, (*ours.keys, *ours.values), strict=True))


def test_a_bidirectional_ranker_has_no_extension() -> None:
    """One more action changes every row of it, so there is nothing to offer."""
    assert not hasattr(torch.jit.script(build_ranker(config("transformer"))), "extend_history")
