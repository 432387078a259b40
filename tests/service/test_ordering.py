"""Ordering: calibrated probabilities, utility, eCPM, and an order that both modes agree on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.bundle import Calibration, Task
from service.ordering import ecpm, order, probabilities, utility

FINITE = st.floats(allow_nan=False, allow_infinity=False, max_value=1e308, min_value=-1e308)


def test_probability_is_the_calibrated_sigmoid_of_each_task() -> None:
    """sigmoid(scale · logit + offset), with each task's own calibration."""
    tasks = (Task(name="a"), Task(name="b", calibration=Calibration(scale=2.0, offset=-1.0)))

    result = probabilities(np.array([[0.0, 0.5], [2.0, -1.0]], dtype=np.float32), tasks)

    np.testing.assert_allclose(result, [[0.5, 0.5], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(3))]], rtol=1e-15)


def test_probabilities_survive_the_largest_logits() -> None:
    """No overflow (a warning is an error here), no NaN; tiny probabilities keep their size."""
    logits = np.array([[3e38], [-3e38], [-700.0], [0.0]], dtype=np.float32)

    result = probabilities(logits, (Task(name="a"),))[:, 0]

    assert result.tolist() == [1.0, 0.0, pytest.approx(np.exp(-700.0), rel=1e-12), 0.5]


def test_utility_weighs_tasks_and_ecpm_prices_a_thousand_impressions() -> None:
    """Feed: Σ weight · p. Ads: 1000 · bid · p."""
    predictions = np.array([[0.5, 0.25]])

    assert utility(predictions, np.array([2.0, -4.0])).tolist() == [0.0]
    assert ecpm(predictions[:, :1], np.array([0.02])).tolist() == [10.0]


def test_scores_equal_in_six_digits_keep_the_order_of_the_request() -> None:
    """The last bits, in which the modes differ, never decide."""
    scores = np.array([0.12345601, 0.9, 0.12345604, 0.12345602])

    ordered = order(scores)

    assert ordered.order.tolist() == [1, 0, 2, 3]
    assert ordered.scores.tolist() == [0.9, 0.123456, 0.123456, 0.123456]


def test_zero_negative_huge_and_tiny_scores_have_their_places() -> None:
    """Every finite double can be a score; zero of either sign is one value."""
    scores = np.array([-0.0, 5e-324, -1e308, 0.0, 1e308, -5e-324, 999999.95, 1000000.0])

    ordered = order(scores)

    assert ordered.order.tolist() == [4, 6, 7, 1, 0, 3, 5, 2]
    assert ordered.scores.tolist() == [1e308, 1e6, 1e6, 5e-324, 0.0, 0.0, -5e-324, -1e308]
    assert str(ordered.scores[4]) == "0.0"


@given(arrays(np.float64, st.integers(0, 30), elements=FINITE))
def test_order_is_a_stable_permutation_by_the_rounded_score(scores: np.ndarray) -> None:
    """Every candidate once; rounded scores never rise; equal ones by index."""
    ordered = order(scores)

    assert sorted(ordered.order.tolist()) == list(range(len(scores)))
    pairs = list(zip(ordered.scores.tolist(), ordered.order.tolist(), strict=True))
    for (score, index), (next_score, next_index) in pairwise(pairs):
        assert score > next_score or (score == next_score and index < next_index)


@given(arrays(np.float64, st.integers(1, 30), elements=FINITE))
def test_rounding_moves_a_score_by_at_most_half_a_unit_of_the_sixth_digit(scores: np.ndarray) -> None:
    """Within 5e-6 relative of the score itself, and equal to what decimal formatting gives but for exact ties."""
    ordered = order(scores)

    for rounded, score in zip(ordered.scores.tolist(), scores[ordered.order].tolist(), strict=True):
        assert rounded == pytest.approx(score, rel=5.001e-6, abs=1e-323)
        assert rounded == pytest.approx(float(f"{score:.5e}"), rel=1.001e-5, abs=1e-323)


@given(st.integers(1, 999_999), st.integers(-12, 6))
def test_a_score_of_six_digits_is_answered_as_it_is(digits: int, exponent: int) -> None:
    """Rounding what needs none changes no bit, so answers stay short."""
    score = float(f"{digits}e{exponent}")

    assert order(np.array([score])).scores.tolist() == [score]
