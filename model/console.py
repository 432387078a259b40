"""The tables of quality that the commands show. It does not know how they come about."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from model.bundle import Calibration
from model.contest import COMPARED as CONTESTED
from model.contest import Contest, Size
from model.evaluate import COMPARED, OURS, Evaluation
from model.metrics import Interval

MEASURES = {"auc": "AUC", "ne": "NE", "ndcg": "NDCG@10", "hit_rate": "HR@10", "calibration_error": "ECE"}


def training_table(title: str, result: dict[str, Any], popularity: dict[str, dict[str, Any]]) -> Table:
    """The trained ranker beside popularity on the test split."""
    table = _table(title, ["task", "method", *MEASURES.values()])
    for task, values in result["tasks"].items():
        table.add_row(task, "popularity", *(_number(popularity[task][measure]) for measure in MEASURES))
        table.add_row(task, OURS, *(_number(values[measure]) for measure in MEASURES), end_section=True)
    return table


def calibration_table(result: dict[str, Any]) -> Table:
    """Normalized entropy and expected calibration error on the test split, before and after Platt scaling."""
    table = _table("calibration", ["task", "", "NE", "ECE", "scale", "offset"])
    fitted = (Calibration(**values) for values in result["calibrations"])
    for task, calibration in zip(result["tasks"], fitted, strict=True):
        for when, values, used in (
            ("before", result["uncalibrated"][task], Calibration()),
            ("after", result["tasks"][task], calibration),
        ):
            numbers = (values["ne"], values["calibration_error"], used.scale, used.offset)
            table.add_row(task, when, *(_number(number) for number in numbers))
    return table


def evaluation_table(evaluation: Evaluation) -> Table:
    """Every method's mean over the seeds; `s` is the seconds of one training."""
    seeds = len(evaluation.seeds)
    title = f"test split, mean of {seeds} seeds" if seeds > 1 else "test split"
    table = _table(title, ["task", "method", *MEASURES.values(), "s"])
    for task in evaluation.tasks:
        for method, results in evaluation.results.items():
            seconds = sum(result["seconds"] for result in results) / len(results)
            numbers = [_number(evaluation.mean(method, task, measure)) for measure in MEASURES]
            table.add_row(task, method, *numbers, f"{seconds:.0f}", end_section=method == OURS)
    return table


def gains_table(evaluation: Evaluation) -> Table:
    """append_cross − baseline with 95 % intervals, paired by seed. For NE, below 0 is better."""
    title = f"paired over {len(evaluation.seeds)} seeds, 95 % t-interval"
    table = _table(title, ["task", "baseline", "measure", f"{OURS} minus baseline"])
    for task in evaluation.tasks:
        for method in evaluation.results:
            for measure in COMPARED if method != OURS else ():
                gain = evaluation.gain(method, task, measure)
                table.add_row(task, method, MEASURES[measure], _interval(gain), end_section=measure == COMPARED[-1])
    return table


def sizes_table(title: str, sizes: dict[str, Size]) -> Table:
    """Parameters and times of contenders, each also as a ratio to the first one's."""
    table = _table(title, ["encoder", "parameters", "ratio", "ms", "ratio"], left=1)
    first = next(iter(sizes.values()))
    for name, (parameters, (seconds, ratio)) in sizes.items():
        share = f"{parameters / first.parameters:.3f}"
        table.add_row(name, f"{parameters:,}", share, f"{seconds * 1e3:.2f}", f"{ratio:.2f}")
    return table


def contest_table(title: str, contest: Contest) -> Table:
    """Mean ± deviation, and the paired differences to the first contender ± the reach of their 95 % interval."""
    table = _table(title, ["task", "encoder", "", "mean ± dev.", "minus the first"])
    for task in contest.tasks:
        for name in contest.results:
            for measure in CONTESTED:
                spread = contest.spread(name, task, measure)
                shown = f"{spread[0]:.4f} ± {spread[1]:.4f}" if spread else "-"
                gain = contest.difference(name, task, measure) if name != contest.reference else None
                difference = f"{gain.mean:+.4f} ± {gain.high - gain.mean:.4f}" if gain else "-"
                table.add_row(task, name, MEASURES[measure], shown, difference)
        table.add_section()
    return table


def _table(title: str, columns: list[str], left: int = 2) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(gain: Interval | None) -> str:
    return "-" if gain is None else f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
