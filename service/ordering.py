"""Ordering: from logits to probabilities, scores and the order of the answer. It does not know requests or torch.

Scores are rounded to 6 significant digits *before* they order, and equal ones keep the order of the request: so both
inference modes, whose logits differ in the last bits, give one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.bundle import Task

SIGNIFICANT_DIGITS = 6
IMPRESSIONS_PER_PRICE = 1000.0  # eCPM is the expected revenue of a thousand impressions

_MANTISSA = 10 ** (SIGNIFICANT_DIGITS - 1)
_LOWEST_EXPONENT = -324  # the smallest float64 above zero is 4.9e-324
_LARGEST_POWER = 300
_POWERS = 10.0 ** np.arange(_LARGEST_POWER + 1)


class Ordered(NamedTuple):
    """order: [C] int64, indexes of the candidates, best first · scores: [C] float64, in that order, rounded."""

    order: NDArray[np.int64]
    scores: NDArray[np.float64]


def probabilities(logits: NDArray[np.float32], tasks: Sequence[Task]) -> NDArray[np.float64]:
    """Calibrated probabilities [C, K] float64 of logits [C, K]: sigmoid(scale · logit + offset), per task."""
    scale = np.array([task.calibration.scale for task in tasks])
    offset = np.array([task.calibration.offset for task in tasks])
    x = scale * logits.astype(np.float64) + offset
    decay = np.exp(-np.abs(x))  # never overflows, whatever the sign
    result: NDArray[np.float64] = np.where(x >= 0.0, 1.0, decay) / (1.0 + decay)
    return result


def utility(predictions: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The feed's score [C]: the weighted sum over tasks of predictions [C, K]."""
    result: NDArray[np.float64] = predictions @ weights
    return result


def ecpm(predictions: NDArray[np.float64], bids: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ads' score [C]: 1000 · bid · click probability, of predictions [C, 1] and bids [C]."""
    return IMPRESSIONS_PER_PRICE * bids * predictions[:, 0]


def order(scores: NDArray[np.float64]) -> Ordered:
    """Best first by score [C] rounded to 6 significant digits, ties by input order. Scores are finite."""
    exponent, mantissa = _decimal(np.abs(scores))
    # One integer that grows with the rounded score; zero and the sign need no case of their own.
    key = (exponent - _LOWEST_EXPONENT + 1) * (10 * _MANTISSA) + mantissa
    key = np.where(mantissa == 0, 0, np.sign(scores).astype(np.int64) * key)
    best_first = np.argsort(-key, kind="stable")
    rounded = np.copysign(_scaled(mantissa.astype(np.float64), exponent - SIGNIFICANT_DIGITS + 1), scores)
    return Ordered(best_first, rounded[best_first] + 0.0)  # + 0.0: no negative zero in an answer


def _decimal(magnitude: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Exponent e and integer mantissa m, both [C], with magnitude ≈ m · 10^(e − 5) and 10^5 ≤ m < 10^6 (or m = 0)."""
    zero = magnitude == 0.0
    safe = np.where(zero, 1.0, magnitude)
    exponent = np.floor(np.log10(safe)).astype(np.int64)
    mantissa = np.rint(_scaled(safe, SIGNIFICANT_DIGITS - 1 - exponent))
    # log10 may miss a power of ten by one bit, and rounding may reach the next one.
    low = mantissa < _MANTISSA
    if low.any():
        exponent -= low
        mantissa = np.where(low, np.rint(_scaled(safe, SIGNIFICANT_DIGITS - 1 - exponent)), mantissa)
    high = mantissa >= 10 * _MANTISSA
    exponent += high
    mantissa[high] = _MANTISSA
    mantissa[zero] = 0.0
    return exponent, mantissa.astype(np.int64)


def _scaled(values: NDArray[np.float64], power: NDArray[np.int64]) -> NDArray[np.float64]:
    """values · 10^power. Negative powers divide: 10^n is exact up to n = 22 and 10^−n never is, so that 123457 / 10^6
    is the double nearest to 0.123457."""
    far = np.abs(power) > _LARGEST_POWER
    near = np.where(far, 0, power)
    result: NDArray[np.float64] = values * _POWERS[np.maximum(near, 0)] / _POWERS[np.maximum(-near, 0)]
    if far.any():  # 10^power alone would leave float64 at either end of its range
        half = power[far] // 2
        result[far] = _scaled(_scaled(values[far], half), power[far] - half)
    return result
