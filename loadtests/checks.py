"""Is an answer right, not only there? Everything about a ranking that can be told from outside.

It does not know how the answer was fetched, or what the right scores are.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import msgspec

from loadtests.workload import Call
from service.schemas import Problem, RankResponse

SHED_STATUSES = (429, 503, 504)

_answer = msgspec.json.Decoder(RankResponse)
_problem = msgspec.json.Decoder(Problem)


class Outcome(StrEnum):
    """answered: right, as far as can be told · shed: refused in due form for want of capacity or time · degraded:
    ranked without the history, and flagged so · wrong: anything else."""

    answered = "answered"
    shed = "shed"
    degraded = "degraded"
    wrong = "wrong"


class Verdict(NamedTuple):
    """fault: what is wrong, empty for a right answer · kept: the history's encoding was at hand already."""

    outcome: Outcome
    fault: str = ""
    kept: bool = False


def judge(call: Call, status: int, body: bytes) -> Verdict:
    """What became of `call`."""
    if status != 200:
        code = _code(body)
        return Verdict(Outcome.shed if status in SHED_STATUSES and code else Outcome.wrong, f"status {status} {code}")
    try:
        answer = _answer.decode(body)
    except msgspec.DecodeError as error:
        return Verdict(Outcome.wrong, f"no rank answer: {error}")
    fault = find_fault(call, answer)
    if fault:
        return Verdict(Outcome.wrong, fault)
    if answer.history.source == "degraded":
        return Verdict(Outcome.degraded, "the history could not be read")
    return Verdict(Outcome.answered, kept=answer.history.source == "cache")


def find_fault(call: Call, answer: RankResponse) -> str:
    """What contradicts the request or itself in `answer`; empty if nothing does."""
    ranked = answer.ranked
    if answer.mode != call.mode:
        return f"mode {answer.mode}, asked for {call.mode}"
    if answer.model.name != call.surface:
        return f"model {answer.model.name}, asked for {call.surface}"
    if len(ranked) != len(call.candidates) or {candidate.id for candidate in ranked} != call.candidates:
        return "does not rank every candidate once"
    if any(candidate.rank != place for place, candidate in enumerate(ranked, start=1)):
        return "ranks are not 1..n in order"
    if any(worse.score > better.score for better, worse in pairwise(ranked)):
        return "scores are not sorted"
    for candidate in ranked:
        if candidate.predictions.keys() != call.tasks:
            return "predictions are not the surface's tasks"
        if not all(0.0 <= probability <= 1.0 for probability in candidate.predictions.values()):
            return "a probability is outside 0..1"
    length, degraded = answer.history.length, answer.history.source == "degraded"
    if length > call.history or (length == 0 and call.history > 0 and not degraded):
        return f"history of {length} actions, the member has {call.history}"
    return ""


def _code(body: bytes) -> str:
    """The problem's code; empty if `body` is no problem document."""
    try:
        return _problem.decode(body).code
    except msgspec.DecodeError:
        return ""
