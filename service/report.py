"""Report: a comparison, or the model repository, as tables for a terminal. It does not know where they come from."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.comparison import KEPT, Comparison
from service.schemas import ModelState
from service.stages import STAGES


def show(comparison: Comparison, console: Console, limit: int) -> None:
    """The ranking, the time by stage, and last the two lines that sum it up."""
    first = comparison.answers[0]
    history = f"{first.history.length} actions ({first.history.source})"
    title = f"{first.model.name} version {first.model.version} · history of {history}"
    console.print(_ranking(comparison, limit, title))
    console.print(_timings(comparison))
    if comparison.parity is not None and comparison.speedup is not None:
        parity = comparison.parity
        order = "same order" if parity.same_order else "ORDERS DIFFER"
        line = f"parity: max |Δlogit| = {parity.absolute:.2e} (relative {parity.relative:.2e}), {order}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        ratio = f"amortized vs non-amortized: {comparison.speedup:.1f}×"
        console.print(ratio, markup=False, highlight=False, soft_wrap=True)


def models_table(states: Sequence[ModelState]) -> Table:
    """One line a version, as the repository lists them."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("model", "version", "state", "reason"):
        table.add_column(column, overflow="fold")
    for state in states:
        table.add_row(state.name, state.version, state.state, escape(state.reason))
    return table


def _ranking(comparison: Comparison, limit: int, title: str) -> Table:
    """The best candidates of the first variant, with the other mode's score of the same candidate beside it."""
    compared = [
        (timing.variant.label, answer)
        for timing, answer in zip(comparison.timings, comparison.answers, strict=True)
        if timing.variant != KEPT
    ]
    (_, first), *others = compared
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("rank", justify="right")
    table.add_column("item", overflow="fold")
    for label, _ in compared:
        table.add_column(label, justify="right")
    if others:
        table.add_column("difference", justify="right")
    for task in first.ranked[0].predictions:
        table.add_column(f"P({task})", justify="right")
    twins = [{candidate.id: candidate for candidate in answer.ranked} for _, answer in others]
    for candidate in first.ranked[:limit]:
        scores = [candidate.score, *(twin[candidate.id].score for twin in twins)]
        row = [str(candidate.rank), escape(candidate.id) + (" (unknown)" if candidate.unknown_item else "")]
        row += [f"{score:.6g}" for score in scores]
        row += [f"{scores[0] - scores[1]:.1e}"] if others else []
        table.add_row(*row, *(f"{probability:.4f}" for probability in candidate.predictions.values()))
    if len(first.ranked) > limit:
        table.caption = f"{len(first.ranked) - limit} more candidates are ranked below"
    return table


def _timings(comparison: Comparison) -> Table:
    table = Table(title="milliseconds in the service, median", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("mode")
    for stage in STAGES:
        table.add_column(stage, justify="right")
    table.add_column("encode+score", justify="right")
    for timing in comparison.timings:
        cells = [f"{timing.stages[stage] * 1e3:.3f}" if stage in timing.stages else "-" for stage in STAGES]
        table.add_row(timing.variant.label, *cells, f"{timing.inference * 1e3:.3f}")
    return table
