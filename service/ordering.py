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

_LARGEST = 10**SIGNIFICANT_DIGITS
_TINIEST = 5e-324  # the smallest float64 above zero
_LOWEST_EXPONENT, _HIGHEST_EXPONENT = -324, 308
# By decimal exponent: value · up · up_again / down has its digits before the point. Two factors, since 10^329 is no
# float64; and a divisor, since 10^n is exact up to n = 22 and 10^−n never is: 123457 / 10^6 is the double nearest to
# 0.123457.
_SHIFTS = SIGNIFICANT_DIGITS - 1 - np.arange(_LOWEST_EXPONENT, _HIGHEST_EXPONENT + 1)
_UP, _UP_AGAIN = 10.0 ** np.clip(_SHIFTS, 0, 300), 10.0 ** np.clip(_SHIFTS - 300, 0, None)
_DOWN = 10.0 ** np.clip(-_SHIFTS, 0, None)


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
    rounded = _rounded(scores)
    best_first = np.argsort(-rounded, kind="stable")
    return Ordered(best_first, rounded[best_first])


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To 6 significant digits [C]. No negative zeros."""
    magnitude = np.abs(values)
    place = np.floor(np.log10(np.maximum(magnitude, _TINIEST))).astype(np.int64) - _LOWEST_EXPONENT
    up, up_again, down = _UP.take(place), _UP_AGAIN.take(place), _DOWN.take(place)
    digits = np.rint(magnitude * up * up_again / down)
    ones = digits >= _LARGEST  # 999999.5 and above: one, a place further
    if ones.any():
        place += ones
        digits[ones] = _LARGEST // 10
        up, up_again, down = _UP.take(place), _UP_AGAIN.take(place), _DOWN.take(place)
    result: NDArray[np.float64] = np.copysign(digits * down / up / up_again, values) + 0.0
    return result
