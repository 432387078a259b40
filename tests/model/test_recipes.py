"""Recipes: settings that exist, for data sets that exist."""

from __future__ import annotations

import pytest

from model.datasets.loader import load
from model.recipes import HSTU, RECIPES, recipe
from model.run import TrainingSettings


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_made_of_valid_settings(name: str) -> None:
    """A recipe can be trained with."""
    settings = TrainingSettings(data="somewhere", surface="feed", **RECIPES[name])

    assert settings.epochs >= 1


def test_a_recipe_is_found_by_the_data_sets_name() -> None:
    """The name that the loader gives leads to it; an unknown one gets the defaults."""
    assert recipe(load("synthetic", "feed").name, "transformer") == RECIPES["synthetic"]
    assert recipe("movielens-100k", "causal_transformer") == RECIPES["movielens"]
    assert recipe("amazon-beauty", "hstu") == RECIPES["amazon"]
    assert recipe("kuairand", "transformer") == {}


def test_hstu_has_its_own_where_it_was_tuned() -> None:
    """It changes what differs and keeps the rest of the data set's recipe."""
    assert recipe("synthetic", "hstu") == {**RECIPES["synthetic"], **HSTU["synthetic"]}
    assert set(HSTU) <= set(RECIPES)


def test_a_recipe_can_be_changed_without_changing_the_table() -> None:
    """What the caller gets is its own."""
    recipe("synthetic", "hstu")["epochs"] = 99

    assert recipe("synthetic", "hstu")["epochs"] != 99
