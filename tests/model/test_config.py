"""RankerConfig validates itself."""

from __future__ import annotations

from typing import Any

import pytest

from model.config import RankerConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers", 0),
        ("heads", 3),
        ("features", -1),
        ("slack", 65),
        ("dropout", 1.0),
        ("encoder", "gru"),
        ("fusion", "late"),
        ("max_history", 0),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    """Each bad value is refused with a message that starts from its field."""
    with pytest.raises(ValueError, match=field):
        RankerConfig(**{"actions": 3, "tasks": 1, field: value})


def test_head_reads_all_its_parts() -> None:
    """The head's width counts output, embedding, features, context and meta embedding."""
    config = RankerConfig(actions=3, tasks=1, features=5, context=2, embedding_dim=32, meta_dim=4)

    assert config.head_inputs == 32 + 32 + 5 + 2 + 4


@pytest.mark.parametrize(
    ("encoder", "extendable"), [("transformer", False), ("causal_transformer", True), ("hstu", True)]
)
def test_causal_encoders_can_be_extended(encoder: Any, extendable: bool) -> None:
    """The config knows it, for the manifest to say."""
    assert RankerConfig(actions=3, tasks=1, encoder=encoder).extendable is extendable
