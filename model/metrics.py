"""Offline quality: how well logits order and how honest their probabilities are.

scikit-learn where it has the measure. This module does not know models or data sets; `None` stands for a measure that
is not defined on the data at hand (one class only, no impression with both labels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from model.bundle import Calibration

F64 = NDArray[np.float64]
_TINY = 1e-7


class Quality(NamedTuple):
    """One task's measures. auc, ndcg, hit_rate: higher is better · ne, calibration_error: lower is better."""

    auc: float | None
    ne: float | None
    ndcg: float | None
    hit_rate: float | None
    calibration_error: float


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def quality(labels: F64, logits: F64, offsets: NDArray[np.int64], calibration: Calibration) -> Quality:
    """Measures of one task. labels, logits: [S] · offsets: [N + 1], the impressions' candidates."""
    probabilities = probability(logits, calibration)
    return Quality(
        auc(labels, logits),
        normalized_entropy(labels, probabilities),
        ndcg(labels, logits, offsets),
        hit_rate(labels, logits, offsets),
        calibration_error(labels, probabilities),
    )


def probability(logits: F64, calibration: Calibration) -> F64:
    """sigmoid(scale · logit + offset), [S]."""
    shifted = np.clip(calibration.scale * logits + calibration.offset, -50.0, 50.0)
    return 1.0 / (1.0 + np.exp(-shifted))


def logit(probabilities: F64) -> F64:
    """The inverse of the sigmoid, [S]; probabilities of 0 and 1 stay finite."""
    clipped = np.clip(probabilities, _TINY, 1.0 - _TINY)
    return np.log(clipped) - np.log1p(-clipped)


def auc(labels: F64, scores: F64) -> float | None:
    """Area under the ROC curve over all candidates, [S] each."""
    return float(roc_auc_score(labels, scores)) if _both(labels) else None


def normalized_entropy(labels: F64, probabilities: F64) -> float | None:
    """Log loss over the entropy of the base rate (He et al. 2014, eq. 3): below 1 beats knowing the base rate."""
    if not _both(labels):
        return None
    rate = float(labels.mean())
    entropy = -(rate * math.log(rate) + (1.0 - rate) * math.log(1.0 - rate))
    return float(log_loss(labels, np.clip(probabilities, _TINY, 1.0 - _TINY))) / entropy


def ndcg(labels: F64, scores: F64, offsets: NDArray[np.int64], at: int = 10) -> float | None:
    """Mean NDCG@`at` over the impressions that hold both labels. Ties count by their mean."""
    total, number = 0.0, 0
    for truth, score in _by_size(labels, scores, offsets):
        total += float(ndcg_score(truth, score, k=at)) * len(truth)
        number += len(truth)
    return total / number if number else None


def hit_rate(labels: F64, scores: F64, offsets: NDArray[np.int64], at: int = 10) -> float | None:
    """Share of impressions with both labels that have a positive among the best `at`. Ties lose."""
    hits, number = 0.0, 0
    for truth, score in _by_size(labels, scores, offsets):
        best = np.where(truth > 0, score, -np.inf).max(axis=1, keepdims=True)
        hits += float((((score >= best) & (truth == 0)).sum(axis=1) < at).sum())
        number += len(truth)
    return hits / number if number else None


def calibration_error(labels: F64, probabilities: F64, bins: int = 15) -> float:
    """Expected calibration error: mean |predicted − observed| over equally filled bins, weighted by their size."""
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, bins)
    gaps = [abs(probabilities[part].mean() - labels[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(labels))


def fit_platt(labels: F64, logits: F64) -> Calibration:
    """Platt scaling by maximum likelihood. Identity where it is not defined (one class) or would turn the order."""
    if not _both(labels):
        return Calibration()
    fitted = LogisticRegression(C=1e6).fit(logits[:, None], labels)
    scale = float(fitted.coef_[0, 0])
    return Calibration(scale=scale, offset=float(fitted.intercept_[0])) if scale > 0.0 else Calibration()


def paired_interval(ours: Sequence[float], theirs: Sequence[float]) -> Interval | None:
    """Mean of ours − theirs, paired by seed, with its t-interval; None below two pairs."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} values cannot be paired")
    if len(ours) < 2:
        return None
    differences = np.asarray(ours) - np.asarray(theirs)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    reach = float(stats.t.ppf(0.975, len(differences) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def _both(labels: F64) -> bool:
    return bool(labels.min(initial=1.0) < labels.max(initial=0.0))


def _by_size(labels: F64, scores: F64, offsets: NDArray[np.int64]) -> list[tuple[F64, F64]]:
    """Impressions that hold both labels, grouped by their number of candidates: [(labels [n, C], scores [n, C])]."""
    sizes = np.diff(offsets)
    groups: list[tuple[F64, F64]] = []
    for size in np.unique(sizes[sizes > 1]):
        rows = offsets[:-1][sizes == size][:, None] + np.arange(size)
        truth, score = labels[rows], scores[rows]
        mixed = truth.min(axis=1) < truth.max(axis=1)
        if mixed.any():
            groups.append((truth[mixed], score[mixed]))
    return groups
