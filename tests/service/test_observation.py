"""RankObservation: every end of a request has an outcome."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import STATUS, RankonceError
from service.observation import _OUTCOMES, LookupResult, Outcome, RankObservation


@pytest.mark.parametrize(
    ("lookup", "outcome"),
    [("found", "ok"), ("unchanged", "ok"), ("absent", "ok"), ("unavailable", "degraded"), ("damaged", "degraded")],
)
def test_an_answer_without_the_members_history_counts_as_degraded(lookup: LookupResult, outcome: Outcome) -> None:
    """An answer is ok only if the store could say what the history is."""
    seen = RankObservation("feed", "amortized", 3, lookup=lookup)

    seen.succeed()

    assert seen.outcome == outcome


@pytest.mark.parametrize("kind", [*STATUS, asyncio.CancelledError, RuntimeError])
def test_every_error_has_one_outcome(kind: type[BaseException]) -> None:
    """Own errors by their kind, a disconnected client as cancelled, the unforeseen as failed."""
    seen = RankObservation("feed", "amortized", 3)
    error = kind.__new__(kind)

    seen.fail(error)

    matching = [outcome for cls, outcome in _OUTCOMES if issubclass(kind, cls)]
    assert len(matching) <= 1
    assert seen.outcome == (matching or ["failed"])[0]
    if not issubclass(kind, RankonceError):
        assert seen.outcome == ("cancelled" if kind is asyncio.CancelledError else "failed")


def test_the_whole_request_is_timed() -> None:
    """From the observation's birth to its end."""
    seen = RankObservation("feed", "amortized", 3)

    seen.end()

    assert seen.total_seconds > 0.0
