"""The comparison of the two modes."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import psutil
import pytest

from loadtests.compare import Fault, blocks, measure, ratios, report, variants
from loadtests.openloop import run
from loadtests.serving import Service
from loadtests.workload import Call, Workload
from tests.loadtests.conftest import Answering, Respond, rightly

OPTIONS = argparse.Namespace(requests=60, block=10, concurrency=2, out=Path("out"))


@pytest.fixture
def every_call(workload: Workload) -> list[Call]:
    """What the three variants send on the feed."""
    found: list[Call] = []
    for variant in variants():
        found += workload.calls("feed", variant.mode, reuse_encoding=variant.reuse_encoding)
    return found


def test_turns_alternate_and_every_variant_sends_everything() -> None:
    """Each variant sends each request once, and comes first equally often."""
    order = list(blocks(95, 10, 3))

    for variant in range(3):
        assert [request for who, part in order if who == variant for request in part] == list(range(95))
    assert Counter(order[i][0] for i in range(0, 27, 3)) == {0: 3, 1: 3, 2: 3}


def test_a_slower_mode_comes_out_slower(workload: Workload, every_call: list[Call], answering: Answering) -> None:
    """All variants have every request's latency and size; the mode that sleeps has the longer ones."""

    def slow(body: bytes) -> tuple[int, bytes]:
        time.sleep(0.01 if b"non_amortized" in body else 0.0)
        return rightly(every_call)(body)

    with answering(slow) as url:
        compared = run(measure(Service(url, psutil.Process(), []), workload, "feed", OPTIONS))

    figures = [each.figures() for each in compared]
    assert [len(each.milliseconds) for each in compared] == [60, 60, 60]
    assert sorted(compared[0].sizes) == sorted(compared[2].sizes) == sorted(workload.shapes.candidates.tolist())
    assert figures[0]["p50"] < figures[2]["p50"]
    assert ratios(figures[0], figures[2])["p50"] > 1.0


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ((429, b'{"type":"t","title":"t","status":429,"code":"overloaded","detail":"d","request_id":"r"}'), "shed"),
        ((200, b"{}"), "wrong"),
    ],
)
def test_one_shed_or_wrong_answer_ends_it(
    workload: Workload, every_call: list[Call], answering: Answering, answer: tuple[int, bytes], seen: str
) -> None:
    """A comparison in which something was not answered is no comparison."""
    respond: Respond = lambda body: answer if b"non_amortized" in body else rightly(every_call)(body)  # noqa: E731

    with answering(respond) as url, pytest.raises(Fault, match=f"non_amortized: {seen}"):
        run(measure(Service(url, psutil.Process(), []), workload, "feed", OPTIONS))


def test_ratios_say_how_many_times_better() -> None:
    """Less time is better, more requests are better, and what is not known has no ratio."""
    found = ratios(
        {"p50": 2.0, "p99": None, "requests_per_second": 30.0}, {"p50": 6.0, "p99": 9.0, "requests_per_second": 10.0}
    )

    assert found == {"p50": 3.0, "p99": None, "requests_per_second": 3.0}


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With every variant's figures and the ratios against the baseline."""
    compared = variants()
    for factor, each in zip((1.0, 0.5, 4.0), compared, strict=True):
        each.milliseconds, each.seconds, each.cpu_seconds = [factor] * 100, factor / 10, factor / 20

    report(compared, OPTIONS, {"surface": "feed"})

    facts = msgspec.json.decode(capsys.readouterr().out.splitlines()[-1])
    assert facts["ratio"]["amortized"] == {
        "p50": 4.0,
        "p95": 4.0,
        "p99": 4.0,
        "requests_per_second": 4.0,
        "cpu_seconds_per_1000": 4.0,
    }
    assert facts["ratio"]["amortized, encodings kept"]["p50"] == 8.0


@pytest.mark.slow
def test_from_the_command_line(repository: Path, tmp_path: Path) -> None:
    """Against a real service: nothing is shed, encodings are kept where they may be, and the plot is there."""
    command = [sys.executable, "-m", "loadtests.compare", "--models", str(repository), "--out", str(tmp_path)]
    done = subprocess.run([*command, "--requests", "100"], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    facts = msgspec.json.decode(done.stdout.splitlines()[-1])
    kept = facts["kept_share"]
    assert kept["amortized"] == kept["non-amortized"] == 0.0 < kept["amortized, encodings kept"]
    assert all(value > 0 for each in facts["variants"].values() for value in each.values())
    assert Path(facts["plot"]).is_file()
