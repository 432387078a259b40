"""Results of the benchmarks: rows with targets, the table of them, and the one line of JSON at the end.

A row of the performance targets may have parts (a shape, a side condition): `"3 large"` is one of row 3's. It does not
know how anything was measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

ROWS = {
    "1": "share of the GEMM rate, amortized",
    "2": "share of the GEMM rate, non-amortized",
    "3": "HTTP p50 of a cold request ÷ bare model",
    "4": "saturated throughput ÷ what the cores could do",
    "5": "encoding at hand ÷ cold, model",
    "6": "reduced precision ÷ fp32, model",
    "7": "time per candidate at 16,384 ÷ at 2,048, and memory",
    "8": "p99 at 70 % load ÷ p99 of a simulated M/D/k queue",
    "9": "decode + encode, share of the request's time",
    "10": "p99 of a warm long request, ms",
    "11": "HTTP p50 after a prefetch ÷ cold",
}
"""The rows of the performance targets; what each means is told in README.md here."""


class Result(NamedTuple):
    """value: None where it could not be measured, and `note` says why · met: None where nothing is demanded."""

    row: str
    value: float | None
    target: float | None
    met: bool | None
    note: str = ""


def at_least(row: str, value: float, target: float, note: str = "") -> Result:
    return Result(row, round(value, 3), target, value >= target, note)


def at_most(row: str, value: float, target: float, note: str = "") -> Result:
    return Result(row, round(value, 3), target, value <= target, note)


def reported(row: str, value: float, note: str = "") -> Result:
    return Result(row, round(value, 3), None, None, note)


def not_measured(row: str, target: float | None, reason: str) -> Result:
    return Result(row, None, target, None, reason)


def by_part(results: Iterable[Result]) -> dict[str, dict[str, Any]]:
    """The line of one benchmark: every part under its own name."""
    return {result.row: _fields(result) for result in results}


def by_row(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """The line of all benchmarks: a field for every row of the targets, whatever was measured.

    value and target: of the row's most telling part, which is the one that misses its target by most (or meets it by
    least) · met: whether all parts do; None where nothing is demanded, or a part that is demanded was not measured
    """
    line = {}
    for row in ROWS:
        parts = [result for result in results if result.row.split()[0] == row]
        telling = _telling(parts) if parts else not_measured(row, None, "not measured")
        met = [part.met for part in parts if part.target is not None]
        verdict = None if not met or None in met else all(met)
        line[row] = {**_fields(telling), "met": False if False in met else verdict, "parts": by_part(parts)}
    return line


def show(results: Sequence[Result]) -> None:
    """The table, in the order of the rows."""
    table = Table("row", "what", "value", "target", "met", "note")
    order = list(ROWS)
    for result in sorted(results, key=lambda result: order.index(result.row.split()[0])):
        verdict = {None: "", True: "yes", False: "NO"}[result.met]
        target = "" if result.target is None else f"{result.target:g}"
        value = "-" if result.value is None else f"{result.value:g}"
        table.add_row(result.row, ROWS[result.row.split()[0]], value, target, verdict, result.note)
    Console(width=150, highlight=False).print(table)


def print_line(line: dict[str, dict[str, Any]]) -> None:
    """The last line of every benchmark."""
    print(json.dumps(line), flush=True)


def _fields(result: Result) -> dict[str, Any]:
    fields = {"value": result.value, "target": result.target, "met": result.met}
    return {**fields, "note": result.note} if result.note else fields


def _telling(parts: Sequence[Result]) -> Result:
    demanded = [part for part in parts if part.target is not None]
    if not demanded:
        return parts[0]
    unmeasured = [part for part in demanded if part.value is None]
    missed = [part for part in demanded if part.met is False]
    if unmeasured and not missed:
        return unmeasured[0]
    measured = missed or demanded
    return max(measured, key=_strain)


def _strain(part: Result) -> float:
    """How near a part is to missing its target, or by how much it does: which way is better shows in the verdict."""
    assert part.value is not None
    assert part.target is not None
    distance = abs(part.value - part.target) / part.target
    return -distance if part.met else distance
