"""Comparison: one request ranked in both modes over HTTP, their answers and times side by side.

It knows the service only through its client, and not how the figures are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

import msgspec

from service.client import RankClient, Ranked
from service.schemas import Mode, RankRequest, RankResponse


class Variant(NamedTuple):
    """One way to ask for the same ranking."""

    label: str
    mode: Mode
    reuse_encoding: bool


AMORTIZED = Variant("amortized", "amortized", reuse_encoding=False)
KEPT = Variant("amortized, kept", "amortized", reuse_encoding=True)
NON_AMORTIZED = Variant("non-amortized", "non_amortized", reuse_encoding=False)


class Timing(NamedTuple):
    """Medians over the repeats, in seconds. inference = encode + score; the history is read in either mode."""

    variant: Variant
    stages: dict[str, float]
    inference: float


class Parity(NamedTuple):
    """Between two answers: largest |Δlogit|, the same relative to max(1, |logit|), and whether the orders agree."""

    absolute: float
    relative: float
    same_order: bool


class Comparison(NamedTuple):
    """answers: one a variant. parity and speedup: None where only one mode was asked."""

    request: RankRequest
    answers: list[RankResponse]
    timings: list[Timing]
    parity: Parity | None
    speedup: float | None

    def facts(self, limit: int) -> dict[str, Any]:
        """Everything as plain data, for a machine."""
        answer = self.answers[0]
        return {
            "surface": self.request.surface,
            "model": msgspec.to_builtins(answer.model),
            "candidates": len(self.request.candidates),
            "history": msgspec.to_builtins(answer.history),
            "ranked": {
                timing.variant.label: msgspec.to_builtins(response.ranked[:limit])
                for timing, response in zip(self.timings, self.answers, strict=True)
            },
            "milliseconds": {
                timing.variant.label: {
                    **{stage: round(seconds * 1e3, 3) for stage, seconds in timing.stages.items()},
                    "inference": round(timing.inference * 1e3, 3),
                }
                for timing in self.timings
            },
            "parity": self.parity._asdict() if self.parity else None,
            "speedup": self.speedup,
        }


def compare(client: RankClient, request: RankRequest, variants: Sequence[Variant], repeat: int) -> Comparison:
    """Ask for every candidate's logits in each variant, `repeat` times, taking turns.

    One round before that is not counted: it warms connections, and keeps the encoding that KEPT is to find.
    """
    runs: list[list[Ranked]] = [[] for _ in variants]
    for counted in [False] + [True] * repeat:
        for variant, run in zip(variants, runs, strict=True):
            ranked = client.rank(
                msgspec.structs.replace(
                    request, mode=variant.mode, reuse_encoding=variant.reuse_encoding, logits=True, limit=None
                )
            )
            if counted:
                run.append(ranked)
    answers = [run[0].response for run in runs]
    timings = [_timing(variant, run) for variant, run in zip(variants, runs, strict=True)]
    if AMORTIZED not in variants or NON_AMORTIZED not in variants:
        return Comparison(request, answers, timings, None, None)
    fast, slow = variants.index(AMORTIZED), variants.index(NON_AMORTIZED)
    speedup = timings[slow].inference / timings[fast].inference
    return Comparison(request, answers, timings, parity(answers[fast], answers[slow]), speedup)


def parity(one: RankResponse, other: RankResponse) -> Parity:
    """Of two answers to the same request, which both hold every candidate's logits."""
    others = {candidate.id: candidate.logits for candidate in other.ranked}
    absolute = relative = 0.0
    for candidate in one.ranked:
        assert isinstance(candidate.logits, dict)
        twin = others[candidate.id]
        assert isinstance(twin, dict)
        for task, logit in candidate.logits.items():
            difference = abs(logit - twin[task])
            absolute = max(absolute, difference)
            relative = max(relative, difference / max(1.0, abs(twin[task])))
    same_order = [candidate.id for candidate in one.ranked] == [candidate.id for candidate in other.ranked]
    return Parity(absolute, relative, same_order)


def _timing(variant: Variant, run: Sequence[Ranked]) -> Timing:
    stages = {stage: median(ranked.stages[stage] for ranked in run) for stage in run[0].stages}
    inference = median(ranked.stages.get("encode", 0.0) + ranked.stages["score"] for ranked in run)
    return Timing(variant, stages, inference)
