"""All benchmarks as one: the entry point puts their rows into one line."""

from __future__ import annotations

import json

import pytest

from loadtests import bench, bench_http, bench_model, bench_precision
from loadtests.bench_results import Result, at_most, not_measured, reported


def test_the_last_line_has_a_field_for_every_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever each benchmark measured, quick or not, ends in the table and the line."""
    asked: list[object] = []

    def rows(*results: Result) -> object:
        def measure(effort: object) -> list[Result]:
            asked.append(effort)
            return list(results)

        return measure

    monkeypatch.setattr(bench_model, "measure", rows(at_most("5 large", 0.9, 0.82), reported("10 model p99 ms", 34.0)))
    monkeypatch.setattr(bench_http, "measure", rows(at_most("3 large", 1.05, 1.1)))
    monkeypatch.setattr(bench_precision, "measure", rows(not_measured("6 large", 0.65, "no data")))
    bench.main(["--quick"])
    out = capsys.readouterr().out.splitlines()
    line = json.loads(out[-1])

    assert asked == [bench_model.QUICK, bench_http.QUICK, bench_precision.QUICK]
    assert list(line) == [str(number) for number in range(1, 12)]
    assert [line[row]["met"] for row in ("3", "5", "6", "10")] == [True, False, None, None]
    assert line["6"]["note"] == "no data"
    assert any("cores" in text for text in out[:1])
