"""Report: what a person sees of a comparison."""

from __future__ import annotations

import re
from io import StringIO

from rich.console import Console

from service.comparison import AMORTIZED, KEPT, NON_AMORTIZED, Comparison, Parity, Timing, Variant
from service.report import show
from service.schemas import Candidate, HistoryInfo, ModelRef, RankedCandidate, RankRequest, RankResponse


def response(*scores: float) -> RankResponse:
    ranked = [
        RankedCandidate(f"[item-{i}]", i, score, {"click": 0.25}, unknown_item=i == 2)
        for i, score in enumerate(scores, start=1)
    ]
    return RankResponse("r", ModelRef("feed", "7"), "amortized", HistoryInfo(24, "store"), ranked)


def timing(variant: Variant, score: float) -> Timing:
    return Timing(variant, {"history": 0.0002, "score": score}, score)


def shown(comparison: Comparison, limit: int = 10) -> str:
    console = Console(file=StringIO(), width=120, color_system=None)
    show(comparison, console, limit)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


REQUEST = RankRequest("m", "feed", [Candidate("a")])
BOTH = Comparison(
    REQUEST,
    [response(2.5, 1.5, 0.5), response(2.5, 1.5, 0.5), response(2.5, 1.25, 0.5)],
    [timing(AMORTIZED, 0.001), timing(KEPT, 0.0005), timing(NON_AMORTIZED, 0.05)],
    Parity(3.2e-7, 1.6e-7, same_order=True),
    50.0,
)


def test_scores_stand_side_by_side() -> None:
    """Rank, item, both modes, their difference and the probability; the kept encoding adds no column."""
    lines = shown(BOTH).splitlines()
    (row,) = [line for line in lines if "[item-2]" in line]

    assert [cell.strip() for cell in re.split(r"\s{2,}", row.strip())] == [
        "2",
        "[item-2] (unknown)",
        "1.5",
        "1.25",
        "2.5e-01",
        "0.2500",
    ]


def test_the_last_lines_sum_it_up() -> None:
    """What a script may look for: parity, then the ratio, last."""
    assert shown(BOTH).splitlines()[-2:] == [
        "parity: max |Δlogit| = 3.20e-07 (relative 1.60e-07), same order",
        "amortized vs non-amortized: 50.0×",
    ]


def test_stages_are_in_milliseconds() -> None:
    """One row a variant, a dash where a stage does not exist."""
    (row,) = [line for line in shown(BOTH).splitlines() if line.strip().startswith("non-amortized")]

    assert [cell.strip() for cell in re.split(r"\s{2,}", row.strip())] == [
        "non-amortized",
        "0.200",
        "-",
        "-",
        "50.000",
        "-",
        "50.000",
    ]


def test_the_table_is_cut_at_the_limit() -> None:
    """And says how many were left out."""
    text = shown(BOTH, limit=1)

    assert "[item-2]" not in text
    assert "2 more candidates" in text


def test_one_mode_alone_is_shown_without_a_comparison() -> None:
    """No difference, no parity, no ratio."""
    text = shown(Comparison(REQUEST, [response(1.0)], [timing(NON_AMORTIZED, 0.05)], None, None))

    assert "difference" not in text
    assert "parity" not in text
