"""Whether wrong answers are told from right ones."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from loadtests.checks import Outcome, Verdict, judge
from loadtests.workload import Call, Workload
from service.schemas import RankResponse
from tests.loadtests.conftest import right_answer


@pytest.fixture
def call(workload: Workload) -> Call:
    """A feed call with several candidates, of a member with a history."""
    return next(c for c in workload.calls("feed", "amortized") if len(c.candidates) > 3 and c.history)


def swap(answer: RankResponse) -> None:
    """The first two candidates change places, ranks and all."""
    answer.ranked[:2] = answer.ranked[1::-1]


WRONG: dict[str, Callable[[RankResponse], object]] = {
    "every candidate": lambda answer: answer.ranked.pop(),
    "every candidate once": lambda answer: setattr(answer.ranked[0], "id", answer.ranked[1].id),
    "ranks": swap,
    "sorted": lambda answer: setattr(answer.ranked[-1], "score", 2.0),
    "probability": lambda answer: answer.ranked[1].predictions.update(click=1.5),
    "tasks": lambda answer: answer.ranked[1].predictions.pop("like"),
    "mode": lambda answer: setattr(answer, "mode", "non_amortized"),
    "model": lambda answer: setattr(answer.model, "name", "ads"),
    "history": lambda answer: setattr(answer.history, "length", 0),
    "the member has": lambda answer: setattr(answer.history, "length", 10_000),
}


def test_a_right_answer_is_answered(call: Call) -> None:
    """Nothing is found, and whether the encoding was kept is passed on."""
    answer = right_answer(call)
    assert judge(call, 200, msgspec.json.encode(answer)) == Verdict(Outcome.answered)
    answer.history.source = "cache"
    assert judge(call, 200, msgspec.json.encode(answer)).kept


@pytest.mark.parametrize("fault", WRONG)
def test_a_planted_fault_is_found(call: Call, fault: str) -> None:
    """Each way to be wrong is told, and named."""
    answer = right_answer(call)
    WRONG[fault](answer)

    verdict = judge(call, 200, msgspec.json.encode(answer))

    assert verdict.outcome is Outcome.wrong
    assert fault in verdict.fault


def test_degraded_is_a_case_of_its_own(call: Call) -> None:
    """Ranked without the history and flagged so: neither right nor wrong."""
    answer = right_answer(call)
    answer.history.length, answer.history.source = 0, "degraded"

    assert judge(call, 200, msgspec.json.encode(answer)).outcome is Outcome.degraded


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (429, b'{"type":"t","title":"t","status":429,"code":"overloaded","detail":"d","request_id":"r"}', "shed"),
        (504, b'{"type":"t","title":"t","status":504,"code":"deadline","detail":"d","request_id":"r"}', "shed"),
        (500, b'{"type":"t","title":"t","status":500,"code":"internal","detail":"d","request_id":"r"}', "wrong"),
        (429, b"slow down", "wrong"),
        (200, b"<html>", "wrong"),
        (200, b"{}", "wrong"),
        (0, b"", "wrong"),
    ],
)
def test_refusals_count_only_in_due_form(call: Call, status: int, body: bytes, outcome: str) -> None:
    """Shed means a problem document with a status that says so; everything else that is no ranking is wrong."""
    assert judge(call, status, body).outcome == outcome
