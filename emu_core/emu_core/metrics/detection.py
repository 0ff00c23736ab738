"""How well a score finds positives, pooled over pixels: AUROC, average precision, FPR95.

Positives are errors, or unknown objects. Each figure comes with the most that binning the scores
can have changed it; pixels of exactly one score tie, as in scikit-learn, and count as no error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emu_core.metrics.histogram import Bins

NOT_A_NUMBER = float("nan")


class Figure(NamedTuple):
    """A value and how far it can be from the one that unbinned scores would give."""

    value: float
    bound: float


def auroc(bins: Bins) -> Figure:
    """Share of pairs whose positive has the higher score, ties counting one half; NaN if either
    kind is missing."""
    positives, negatives = bins.positives.astype(np.float64), bins.negatives.astype(np.float64)
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return Figure(NOT_A_NUMBER, 0.0)
    below = np.cumsum(negatives) - 0.5 * negatives
    unsure = np.where(bins.level > 0, positives, 0.0)
    return Figure(float(positives @ below / pairs), float(0.5 * (unsure @ negatives) / pairs))


def average_precision(bins: Bins) -> Figure:
    """Mean precision over the positives, Σ (R_k − R_{k−1}) P_k as in scikit-learn; NaN without
    a positive."""
    # Descending: a threshold at each bin's lower end takes all of that bin.
    hits, alarms = bins.positives[::-1].astype(np.float64), bins.negatives[::-1]
    total = hits.sum()
    if total == 0:
        return Figure(NOT_A_NUMBER, 0.0)
    found, false = np.cumsum(hits), np.cumsum(alarms)
    occupied = np.maximum(found + false, 1)
    precision = found / occupied
    # Within a bin of several scores, precision lies between these two, whatever their order.
    with np.errstate(invalid="ignore", divide="ignore"):
        best = found / (found + false - alarms)
        before = found - hits
        worst = (before + (hits > 0)) / (before + (hits > 0) + false)
    unsure = (bins.level[::-1] > 0) & (hits > 0)
    spread = np.where(unsure, np.maximum(best - precision, precision - worst), 0.0)
    return Figure(float(hits @ precision / total), float(hits @ spread / total))


def false_positive_rate(bins: Bins, recall: float = 0.95) -> Figure:
    """Share of negatives above the highest threshold that finds `recall` of the positives
    (FPR95); NaN if either kind is missing."""
    hits, alarms = np.cumsum(bins.positives[::-1]), np.cumsum(bins.negatives[::-1])
    if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
        return Figure(NOT_A_NUMBER, 0.0)
    at = int(np.argmax(hits >= recall * hits[-1]))
    unsure = bins.negatives[::-1][at] if bins.level[::-1][at] > 0 else 0
    return Figure(float(alarms[at] / alarms[-1]), float(unsure / alarms[-1]))


def pairs_won(groups: list[Bins], common: Bins) -> np.ndarray:
    """Pairs that the positives of group d win against the negatives of group e, (D,D) float64.

    Ties count one half, and so do pairs within a bin of `common`, the histogram of all groups
    together. The AUROC of any weighting w of the groups (drives drawn again for a bootstrap) is
    then wᵀ U w / (w·positives · w·negatives), at no further cost.
    """
    place = [np.searchsorted(common.start, bins.start, side="right") - 1 for bins in groups]
    found = [np.flatnonzero(bins.positives) for bins in groups]
    won = np.zeros((len(groups), len(groups)))
    for e, theirs in enumerate(groups):
        negatives = np.bincount(place[e], theirs.negatives, minlength=len(common.start))
        below = np.cumsum(negatives) - 0.5 * negatives
        for d, ours in enumerate(groups):
            won[d, e] = ours.positives[found[d]] @ below[place[d][found[d]]]
    return won
