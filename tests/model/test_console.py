"""What the commands print."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from model.console import (
    calibration_table,
    contest_table,
    evaluation_table,
    gains_table,
    sizes_table,
    training_table,
)
from model.contest import Contest, Size
from model.evaluate import OURS, Evaluation
from model.latency import Latency

QUALITY = {"auc": 0.75, "ne": 0.9, "ndcg": 0.8, "hit_rate": None, "calibration_error": 0.02}
RESULT = {
    "seconds": 12.0,
    "tasks": {"click": QUALITY},
    "uncalibrated": {"click": {**QUALITY, "calibration_error": 0.05}},
    "calibrations": [{"scale": 0.8, "offset": -0.1}],
}


def drawn(table: Table) -> str:
    """The table as text, in a terminal of the usual width."""
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    return out.getvalue()


def test_training_is_shown_beside_popularity() -> None:
    """Both rows, and a dash where a measure is not defined."""
    text = drawn(training_table("feed", RESULT, {"click": {**QUALITY, "auc": 0.6}}))

    assert "popularity" in text
    assert "0.6000" in text
    assert "0.7500" in text
    assert "- " in text


def test_calibration_is_shown_before_and_after() -> None:
    """The error of the raw logits beside that of the calibrated ones, and what was fitted."""
    text = drawn(calibration_table(RESULT))

    assert "0.0500" in text
    assert "0.0200" in text
    assert "0.8000" in text


def test_gains_carry_their_interval_and_sign() -> None:
    """mean [low, high], signed."""
    better = {**RESULT, "tasks": {"click": {**QUALITY, "auc": 0.76}}}
    evaluation = Evaluation(("click",), (0, 1), {"concat": [RESULT, RESULT], OURS: [better, better]})

    assert "concat" in drawn(evaluation_table(evaluation))
    assert "paired over 2 seeds, 95 % t-interval" in drawn(gains_table(evaluation))
    assert "+0.0100 [+0.0100, +0.0100]" in drawn(gains_table(evaluation))


def test_contenders_are_shown_beside_the_first() -> None:
    """Ratios of sizes and times, and signed differences in quality, none of the reference to itself."""
    better = {**RESULT, "tasks": {"click": {**QUALITY, "auc": 0.76}}}
    text = drawn(contest_table("test", Contest(("click",), {}, {"a": [RESULT, RESULT], "hstu": [better, better]})))
    sizes = drawn(sizes_table("sizes", {"a": Size(1000, Latency(0.002, 1.0)), "b": Size(1500, Latency(0.003, 1.49))}))

    assert "0.7600 ± 0.0000" in text
    assert text.count("+0.0100 ± 0.0000") == 1
    assert all(shown in sizes for shown in ("1,500", "1.500", "3.00", "1.49"))


def test_no_number_is_cut_at_the_usual_width() -> None:
    """Every table fits 80 columns with the longest names there are."""
    full = {**RESULT, "seconds": 123.0, "tasks": {"click": {**QUALITY, "hit_rate": 1.0}}}
    evaluation = Evaluation(("click",), (0, 1), {"popularity": [full, full], OURS: [full, full]})
    name = "causal_transformer:32x2"
    tables = [
        training_table("feed", full, {"click": QUALITY}),
        calibration_table(RESULT),
        evaluation_table(evaluation),
        gains_table(evaluation),
        sizes_table("sizes", {name: Size(1_234_567, Latency(0.1234, 10.25))}),
        contest_table("test", Contest(("click",), {}, {"transformer": [full, full], name: [RESULT, full]})),
    ]

    assert not any("…" in drawn(table) for table in tables)
