"""RankObservation: every end of a request has an outcome."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import STATUS, HistoryDamaged, RankonceError, StoreUnavailable
from service.observation import _OUTCOMES, LookupResult, Observers, Outcome, RankObservation
from tests.fakes import RecordingObserver


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


@pytest.mark.parametrize(
    ("error", "lookup"), [(StoreUnavailable("x"), "unavailable"), (HistoryDamaged("x"), "damaged")]
)
def test_a_lookup_that_ends_the_request_is_counted_as_failed(error: Exception, lookup: LookupResult) -> None:
    """With RANKER_ON_HISTORY_FAILURE=unavailable the error is all that tells what the store said."""
    seen = RankObservation("feed", "amortized", 3)

    seen.fail(error)

    assert (seen.outcome, seen.lookup) == ("unavailable", lookup)


def test_every_observer_is_told_of_the_same_request() -> None:
    """Metrics and traces see one observation."""
    one, other = RecordingObserver(), RecordingObserver()
    seen = RankObservation("feed", "amortized", 3)

    Observers(one, other).ranked(seen)

    assert (one.seen, other.seen) == ([seen], [seen])
