"""The table of results over seeds, beside published rows. It does not know how a result came about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

CUTS = (5, 10, 50)


class Published(NamedTuple):
    """A row as printed in a paper, and which of our data sets it may be read beside."""

    data: str
    label: str
    values: dict[str, float]


PUBLISHED = (
    Published(
        "amazon-beauty",
        "SASRec as printed by TIGER",
        {"hr@5": 0.0387, "ndcg@5": 0.0249, "hr@10": 0.0605, "ndcg@10": 0.0318},
    ),
    *(
        Published(data, f"{label} as published{note}", {"hr@10": hit, "ndcg@10": gain})
        for data, note in (("ml-1m", ""), ("ml1m-events", "\n(another split: all ML-1M)"))
        for label, hit, gain in (
            ("SASRec", 0.2853, 0.1603),
            ("HSTU", 0.3097, 0.1720),
            ("HSTU-large", 0.3294, 0.1893),
        )
    ),
)


def results_tables(results: Sequence[dict[str, Any]]) -> list[Table]:
    """A table a data set: what was published, the baselines, and each method's mean ± standard deviation (n − 1)."""
    tables = []
    for data in sorted({result["name"] for result in results}):
        here = [result for result in results if result["name"] == data]
        table = Table(title=f"{data}: leave-one-out, full catalogue, test", title_justify="left")
        for column in ("method", "runs", "K", "HR@K", "NDCG@K"):
            table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
        for row in PUBLISHED:
            if row.data == data:
                _add(table, row.label, "", [row.values])
        # The protocol decides what a baseline counts and leaves out.
        baselines = {result["settings"]["protocol"]: result["baselines"] for result in here}
        for protocol, by_name in baselines.items():
            for name, values in by_name.items():
                _add(table, f"{name}, {protocol}", "", [values])
        groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for result in here:
            groups[_method(result["settings"])].append(result)
        for method, group in groups.items():
            seconds = np.mean([result["seconds"] / result["epochs"] for result in group])
            best = ", ".join(str(result["best_epoch"]) for result in group)
            label = f"{method}\nbest epoch {best}\n{seconds:.0f} s an epoch"
            _add(table, label, str(len(group)), [result["test"] for result in group])
        tables.append(table)
    return tables


def _add(table: Table, label: str, runs: str, values: Sequence[dict[str, float]]) -> None:
    cuts = [cut for cut in CUTS if f"hr@{cut}" in values[0]]
    columns = ("\n".join(_number([one[f"{name}@{cut}"] for one in values]) for cut in cuts) for name in ("hr", "ndcg"))
    table.add_row(label, runs, "\n".join(map(str, cuts)), *columns, end_section=True)


def _method(settings: dict[str, Any]) -> str:
    """What two results must share to be averaged: everything but the seed and where the data lay."""
    stop = f"patience {settings['patience']}" if settings["protocol"] == "validated" else f"{settings['epochs']} epochs"
    return (
        f"{settings['encoder']}\n{settings['loss']}, {settings['protocol']}\n"
        f"{settings['layers']} x {settings['dim']}, heads {settings['heads']}, {settings['max_length']} items\n"
        f"dropout {settings['dropout']}, lr {settings['learning_rate']}\n"
        f"batch {settings['batch_size']}, {stop}"
    )


def _number(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.4f}"
