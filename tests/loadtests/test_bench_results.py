"""Results: verdicts that can fail, and a last line with every row of the targets."""

from __future__ import annotations

import json

import pytest

from loadtests.bench_results import (
    ROWS,
    Result,
    at_least,
    at_most,
    by_part,
    by_row,
    not_measured,
    print_line,
    reported,
    show,
)


def test_verdicts_follow_the_measured_value_and_not_the_printed_one() -> None:
    """A share may not round its way over a target, and what has no target has no verdict."""
    assert not at_least("1", 0.8499, 0.85).met
    assert at_least("1", 0.85, 0.85).met
    assert not at_most("5", 0.8201, 0.82).met
    assert reported("2", 119.0).met is None


def test_every_row_has_its_field_even_if_nothing_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Eleven fields with value, target and met; the line is one line of JSON."""
    print_line(by_row([]))
    (text,) = capsys.readouterr().out.splitlines()
    line = json.loads(text)

    assert list(line) == [str(number) for number in range(1, 12)]
    assert all(field["value"] is None and field["met"] is None for field in line.values())
    assert all(field["note"] == "not measured" for field in line.values())


@pytest.mark.parametrize(
    ("parts", "value", "met"),
    [
        ([at_least("1 large", 0.9, 0.85), at_least("1 wide", 0.86, 0.85)], 0.86, True),
        ([at_least("1 large", 0.9, 0.85), at_least("1 wide", 0.8, 0.85)], 0.8, False),
        ([reported("1 small", 0.1), at_least("1 large", 0.9, 0.85)], 0.9, True),
        ([at_least("1 large", 0.8, 0.85), at_least("1 wide", 0.5, 0.85)], 0.5, False),
        ([at_least("1 large", 0.9, 0.85), not_measured("1 wide", 0.85, "no data")], None, None),
        ([at_least("1 large", 0.8, 0.85), not_measured("1 wide", 0.85, "no data")], 0.8, False),
        ([reported("1 large", 0.9)], 0.9, None),
    ],
)
def test_a_row_stands_for_its_worst_part(parts: list[Result], value: float | None, met: bool | None) -> None:
    """One part that misses its target fails the row, one that is missing leaves it open."""
    field = by_row(parts)["1"]

    assert (field["value"], field["met"]) == (value, met)
    assert list(field["parts"]) == [part.row for part in parts]


def test_parts_keep_their_notes_and_show_in_the_rows_order(capsys: pytest.CaptureFixture[str]) -> None:
    """What could not be measured says why, in the line and in the table."""
    results = [not_measured("11 long", 0.55, "no Redis"), at_most("3 large", 2.0, 1.1)]
    show(results)
    table = capsys.readouterr().out

    assert by_part(results)["11 long"] == {"value": None, "target": 0.55, "met": None, "note": "no Redis"}
    assert table.index("3 large") < table.index("11 long")
    assert "no Redis" in table
    assert "NO" in table


def test_every_row_says_what_it_is() -> None:
    """The table has a word for each."""
    assert all(ROWS.values())
