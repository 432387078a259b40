"""Published settings, and settings that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from model.sequential.settings import NextItemSettings, published


def test_movielens_is_trained_as_hstu_was() -> None:
    """d = 50, two blocks, one head, 200 items, dropout 0.2, rate 1e-3, batches of 128, 101 epochs."""
    settings = NextItemSettings("x", "hstu", "sampled_softmax", **published("ml-1m", "hstu"))

    assert (settings.dim, settings.layers, settings.heads, settings.max_length) == (50, 2, 1, 200)
    assert (settings.dropout, settings.learning_rate, settings.batch_size, settings.epochs) == (0.2, 1e-3, 128, 101)
    assert settings.protocol == "fixed"


def test_the_anchor_is_trained_as_its_table_was() -> None:
    """64 wide, two layers, two heads, 50 items, dropout 0.5, batches of 256, at most 200 epochs, patience 10."""
    settings = NextItemSettings("x", "sasrec_postnorm", "bce", **published("amazon-beauty", "sasrec_postnorm"))

    assert (settings.dim, settings.layers, settings.heads, settings.max_length) == (64, 2, 2, 50)
    assert (settings.dropout, settings.batch_size, settings.epochs, settings.patience) == (0.5, 256, 200, 10)
    assert settings.protocol == "validated"


def test_both_models_get_the_same_settings_on_amazon() -> None:
    """Matched size: what differs is the encoder."""
    assert published("amazon-toys", "sasrec") == published("amazon-toys", "hstu")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"dim": 7, "heads": 2}, "not divisible"),
        ({"dropout": 1.0}, "dropout"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_settings_without_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    """Before anything is read or trained."""
    with pytest.raises(ValueError, match=message):
        NextItemSettings("x", "hstu", "bce", "fixed", **wrong)
