"""Training settings that were found to work for a data set, where the defaults are not the best.

How they were chosen: by the loss on the **validation** split alone, from small grids in which append_cross and
mean_pool got the same settings. MovieLens: some forty settings with seed 10, the better half also with seed 11; the
test split was looked at once, afterwards, with seeds 0 to 4. (An earlier choice, since replaced, had been made with the
test split in view.) Synthetic: seeds 0 to 2, world and settings together. It does not know data or training.
"""

from __future__ import annotations

from typing import Any

from model.config import Encoder

RECIPES: dict[str, dict[str, Any]] = {
    # Tastes are a lookup of "what did I do with items like this": embeddings that start far apart find it soonest, and
    # many small steps sooner than few large ones. Small enough for `make demo`.
    "synthetic": {
        "embedding_std": 0.5,
        "learning_rate": 2e-3,
        "item_decay": 0.3,
        "dropout": 0.0,
        "batch_size": 32,
        "epochs": 5,
        "max_history": 32,
        "slack": 8,
    },
    # Some fifty ratings a film: without a strong decay its embedding memorises who rated it. So few labels do not tell
    # attention which films are alike: without cooccurrence append_cross and mean_pool were level in all settings tried
    # (validation AUC of a like 0.743 to 0.747); with it append_cross alone gains (0.753). A second layer does not help.
    "movielens": {
        "embedding_std": 0.05,
        "cooccurrence": 0.2,
        "learning_rate": 2e-3,
        "item_decay": 5.0,
        "layers": 1,
        "epochs": 3,
    },
    # Eight times as many impressions, nine purchases a member. Hardly tuned (one seed, validation split).
    "amazon": {
        "embedding_std": 0.05,
        "learning_rate": 2e-3,
        "batch_size": 256,
        "layers": 1,
        "epochs": 3,
        "max_history": 32,
    },
}
"""By the first part of a data set's name: `TrainingSettings` fields that differ from the defaults."""


# HSTU wants larger steps. Synthetic: 2e-3, 4e-3, 6e-3, 1e-2 with seed 0, the last two also with seeds 1 and 2; more
# layers or heads did not help. MovieLens: 2e-3, 4e-3, 6e-3 with one seed.
HSTU: dict[str, dict[str, Any]] = {
    "synthetic": {"learning_rate": 6e-3},
    "movielens": {"learning_rate": 4e-3},
}
"""What differs from the data set's recipe where histories are encoded by HSTU."""


def recipe(dataset: str, encoder: Encoder) -> dict[str, Any]:
    """The settings for a data set's name (`movielens-100k`) and an encoder; none for one that was never tuned."""
    name = dataset.split("-")[0]
    return {**RECIPES.get(name, {}), **(HSTU.get(name, {}) if encoder == "hstu" else {})}
