"""The table over seeds."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from model.sequential.ranking import CUTS
from model.sequential.report import results_tables


def result(name: str, seed: int, value: float, **settings: Any) -> dict[str, Any]:
    """What training writes."""
    values = {f"{measure}@{cut}": value for cut in CUTS for measure in ("hr", "ndcg")}
    chosen = {
        "encoder": "hstu", "loss": "sampled_softmax", "protocol": "validated", "seed": seed, "dim": 50, "layers": 2,
        "heads": 1, "max_length": 50, "dropout": 0.2, "learning_rate": 1e-3, "batch_size": 128, "epochs": 101,
        "patience": 10,
    }  # fmt: skip
    return {
        "name": name, "settings": {**chosen, **settings}, "epochs": 30, "best_epoch": 20 + seed, "seconds": 600.0,
        "baselines": {"popularity": dict.fromkeys(values, 0.01)}, "test": values,
    }  # fmt: skip


def drawn(results: list[dict[str, Any]]) -> str:
    """The tables as text, in a terminal of the usual width."""
    out = io.StringIO()
    Console(file=out, width=80).print(*results_tables(results))
    return out.getvalue()


def test_seeds_are_averaged_and_other_settings_are_not() -> None:
    """Mean ± standard deviation of three seeds beside a single run of another size."""
    three = [result("amazon-toys", seed, 0.05 + 0.001 * seed) for seed in range(3)]
    text = drawn([*three, result("amazon-toys", 0, 0.09, dim=64)])

    assert "0.0510 ± 0.0010" in text
    assert "0.0900 │" in text
    assert "best epoch 20, 21, 22" in text
    assert "popularity, validated" in text
    assert "…" not in text


def test_published_rows_stand_beside_ours() -> None:
    """Where the data differ, the row says so."""
    text = drawn([result("amazon-beauty", 0, 0.06), result("ml1m-events", 0, 0.2, protocol="fixed")])

    assert "0.0605" in text
    assert "0.0318" in text
    assert "HSTU-large as published" in text
    assert "another split" in text
    assert "…" not in text
