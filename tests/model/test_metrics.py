"""Offline measures against hand-made cases and their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.bundle import Calibration
from model.metrics import (
    auc,
    calibration_error,
    fit_platt,
    hit_rate,
    logit,
    ndcg,
    normalized_entropy,
    paired_interval,
    probability,
    quality,
)


def test_normalized_entropy_of_the_base_rate_is_one() -> None:
    """Predicting the base rate for everything is worth nothing (He et al. 2014)."""
    labels = np.array([1.0, 0.0, 0.0, 0.0])

    assert normalized_entropy(labels, np.full(4, 0.25)) == pytest.approx(1.0)


def test_normalized_entropy_falls_with_better_probabilities() -> None:
    """Below 1 is better than the base rate, above 1 is worse."""
    labels = np.array([1.0, 0.0, 0.0, 0.0])
    better = normalized_entropy(labels, np.array([0.8, 0.1, 0.1, 0.1]))
    worse = normalized_entropy(labels, np.array([0.1, 0.5, 0.5, 0.5]))

    assert better is not None
    assert worse is not None
    assert better < 1.0 < worse


def test_measures_are_none_where_they_are_not_defined() -> None:
    """One class only: no AUC, no NE, no ranking measure."""
    result = quality(np.ones(4), np.arange(4.0), np.array([0, 2, 4]), Calibration())

    assert result.auc is None
    assert result.ne is None
    assert result.ndcg is None
    assert result.hit_rate is None


def test_ndcg_reads_only_impressions_with_both_labels() -> None:
    """The second impression is perfect; the first and third have one label only."""
    labels = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    scores = np.array([0.0, 1.0, 0.2, 0.9, 5.0])

    assert ndcg(labels, scores, np.array([0, 2, 4, 5])) == pytest.approx(1.0)


def test_ndcg_of_a_positive_in_second_place() -> None:
    """DCG = 1 / log2(3) against an ideal of 1."""
    assert ndcg(np.array([0.0, 1.0]), np.array([2.0, 1.0]), np.array([0, 2])) == pytest.approx(1 / math.log2(3))


def test_ties_are_worth_their_mean_whatever_the_order() -> None:
    """A constant score cannot profit from where the positive stands in the file."""
    first = ndcg(np.array([1.0, 0.0]), np.zeros(2), np.array([0, 2]))
    last = ndcg(np.array([0.0, 1.0]), np.zeros(2), np.array([0, 2]))

    assert first == pytest.approx(last)


def test_hit_rate_counts_impressions_with_a_positive_among_the_best() -> None:
    """One hit, one miss at the first place; ties lose."""
    labels = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    scores = np.array([3.0, 1.0, 3.0, 1.0, 2.0, 2.0])

    assert hit_rate(labels, scores, np.array([0, 2, 4, 6]), at=1) == pytest.approx(1 / 3)


def test_platt_recovers_a_known_distortion() -> None:
    """Logits that are twice too large and shifted are brought back, and the order stays."""
    rng = np.random.default_rng(0)
    truth = rng.normal(-1.0, 1.5, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-truth))).astype(np.float64)
    distorted = 2.0 * truth + 1.0
    fitted = fit_platt(labels, distorted)

    assert fitted.scale == pytest.approx(0.5, abs=0.03)
    assert fitted.offset == pytest.approx(-0.5, abs=0.05)
    before = calibration_error(labels, probability(distorted, Calibration()))
    after = calibration_error(labels, probability(distorted, fitted))
    assert after < 0.02 < before
    assert auc(labels, probability(distorted, fitted)) == pytest.approx(auc(labels, distorted))


def test_platt_never_turns_the_order() -> None:
    """Logits that mislead, or labels of one class, get the identity."""
    labels = np.array([1.0, 1.0, 0.0, 0.0])

    assert fit_platt(labels, np.array([-2.0, -1.0, 1.0, 2.0])) == Calibration()
    assert fit_platt(np.ones(4), np.arange(4.0)) == Calibration()


def test_logit_undoes_probability() -> None:
    """The baselines' rates become logits and back; 0 and 1 stay finite."""
    rates = np.array([0.0, 0.2, 0.9, 1.0])

    assert np.allclose(probability(logit(rates), Calibration()), rates, atol=1e-6)


def test_a_paired_interval_sees_a_small_constant_gain_under_large_noise() -> None:
    """Pairing by seed takes the seeds' own spread out: t(4, 0.975) = 2.776."""
    theirs = [0.70, 0.80, 0.60, 0.75, 0.65]
    ours = [value + gain for value, gain in zip(theirs, [0.010, 0.012, 0.008, 0.011, 0.009], strict=True)]
    interval = paired_interval(ours, theirs)

    assert interval is not None
    assert interval.mean == pytest.approx(0.010)
    assert interval.high - interval.mean == pytest.approx(
        2.776 * np.std([10, 12, 8, 11, 9], ddof=1) / 1e3 / 5**0.5, rel=1e-3
    )
    assert interval.low > 0


def test_one_pair_gives_no_interval_and_unequal_ones_are_refused() -> None:
    """An interval needs at least two seeds, and the same ones on both sides."""
    assert paired_interval([0.7], [0.6]) is None
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_interval([0.7, 0.8], [0.6])
