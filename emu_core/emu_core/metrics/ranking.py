"""Rankings of pixels by a score, pooled over images: AUROC, average precision and FPR95.

Scores are counted in a bounded number of bins that adapt to them, so every metric has an error
bound. `sort_scores` orders the pixels of one image, `ScoreHistogram` pools images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from emu_core.metrics.accumulator import Accumulator

BINS = 1 << 20
"""Default for the maximum number of bins: 22 MB, and an error bound of the AUROC of about 10⁻⁶."""

_WIDEST = 11
"""Maximum width of a bin while there is room: 2¹¹ float32 codes, a relative width of 2⁻¹². Scores
that are rare now may be frequent in the next drive."""

_NAN = float("nan")


@dataclass(frozen=True)
class ScoreOrder:
    """Pixels of an image in ascending order of a score; equal scores are ties."""

    codes: np.ndarray  # `rank_codes` of the scores, ascending, uint32 (n,)
    index: np.ndarray  # pixel at each place, intp (n,)

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def ties(self) -> np.ndarray:
        """First place of each distinct score, then n: intp (distinct scores + 1,)."""
        first = np.flatnonzero(self.codes[1:] != self.codes[:-1]) + 1
        start = [0] if len(self.codes) else []
        return np.concatenate([start, first, [len(self.codes)]]).astype(np.intp)

    @cached_property
    def median(self) -> float:
        """Median of the scores; NaN without a pixel."""
        if not len(self.codes):
            return _NAN
        middle = self.codes[[(len(self.codes) - 1) // 2, len(self.codes) // 2]]
        return float(middle.view(np.float32).astype(np.float64).mean())

    def cumulative(self, error: np.ndarray) -> np.ndarray:
        """Sum the errors (n,) of the k lowest scores, k = 0…n: float64 (n + 1,)."""
        total = np.zeros(len(self.codes) + 1)
        np.cumsum(error.ravel()[self.index], out=total[1:])
        return total


def sort_scores(score: np.ndarray) -> ScoreOrder:
    """Sort pixels by non-negative scores of any shape; NaN counts as +Inf and comes last."""
    # Code and place in one integer: numpy sorts these twice as fast as argsort does.
    keys = rank_codes(score).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    codes = (keys >> np.uint64(32)).astype(np.uint32)
    return ScoreOrder(codes, (keys & np.uint64(0xFFFFFFFF)).astype(np.intp))


def rank_codes(score: np.ndarray) -> np.ndarray:
    """Map non-negative float32 scores of any shape to integers of the same order, uint32 (n,).

    The integers are the float32 codes. Negative scores count as 0, NaN as +Inf.
    """
    flat = np.ascontiguousarray(score.ravel(), dtype=np.float32)
    flat = np.where(np.isnan(flat), np.float32(np.inf), np.maximum(flat, np.float32(0)))
    # Adding +0 turns −0 into 0: the code of −0 would be above all others.
    return (flat + np.float32(0)).view(np.uint32)


class Bins(NamedTuple):
    """Disjoint bins of float32 codes, ascending.

    A bin is [start, start + 2^level) and start is a multiple of 2^level: two bins of different
    histograms are nested or disjoint.
    """

    start: np.ndarray  # uint32 (n,)
    level: np.ndarray  # uint8 (n,); bins of level 0 are single float32 numbers: ties are exact
    negatives: np.ndarray  # int64 (n,)
    positives: np.ndarray  # int64 (n,)


class ScoreHistogram(Accumulator):
    """Counts of positives (errors, unknown objects) and negatives in a bounded number of bins.

    While there is room, every float32 number has its own bin, and rankings are exact. After that,
    neighbouring bins with the fewest pixels are joined (as in the q-digest of Shrivastava et al.,
    SenSys 2004). So every bin holds a similar share of pixels, also if nearly all scores are
    within a thousandth of each other.

    Args:
        bins: maximum number of bins, ≥ 1.
    """

    def __init__(self, bins: int = BINS):
        if bins < 1:
            raise ValueError(f"Expected argument `bins` to be ≥ 1, but got {bins}.")
        self.limit = bins
        self._bins = _empty()
        self._pending: list[Bins] = []

    def update(self, order: ScoreOrder, positive: np.ndarray) -> None:
        """Add pixels: their order by score, and whether each is a positive, bool (n,)."""
        if len(order) != positive.size:
            expected = f"of the {len(order)} pixels in `order`"
            raise ValueError(f"Expected `positive` {expected}, but got {positive.size}.")
        if not len(order):
            return
        first = order.ties[:-1]
        found = np.add.reduceat(positive.ravel()[order.index], first, dtype=np.int64)
        count = np.diff(order.ties)
        self._add(Bins(order.codes[first], np.zeros(len(first), np.uint8), count - found, found))

    def bins(self) -> Bins:
        """Return the counts of all pixels."""
        if self._pending:
            self._bins = _reduced(_joined([self._bins, *self._pending]), self.limit)
            self._pending = []
        return self._bins

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of the bins by field name."""
        return {name: array.copy() for name, array in self.bins()._asdict().items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the counts by the counts of a `state()`."""
        self._pending = []
        self._bins = _reduced(Bins(**{name: state[name] for name in Bins._fields}), self.limit)

    def merge(self, other: Accumulator) -> None:
        """Add the counts of another histogram; where bins differ, the wider one remains."""
        if not isinstance(other, ScoreHistogram):
            kind = type(other).__name__
            raise ValueError(f"Expected `other` to be a ScoreHistogram, but got a {kind}.")
        self._add(other.bins())

    def _add(self, bins: Bins) -> None:
        self._pending.append(bins)
        if sum(len(pending.start) for pending in self._pending) > self.limit:
            self.bins()  # joining is slow, so it is done for several images at once


def add_missing(errors: ScoreHistogram, count: int) -> None:
    """Add pixels without a prediction to a ranking of errors.

    Each counts as an error of the lowest uncertainty and as a correct pixel of the highest one.
    Without the latter, a missing prediction would improve the ranking where it would be correct.
    """
    if count:
        for score, wrong in ((0.0, True), (np.inf, False)):
            errors.update(sort_scores(np.full(count, score, np.float32)), np.full(count, wrong))


def _joined(parts: Iterable[Bins]) -> Bins:
    """Add up histograms; of overlapping bins the widest remains with the sum of the counts."""
    start, level, negatives, positives = map(np.concatenate, zip(*parts, strict=True))
    # Ascending; of bins with the same start, the widest first.
    order = np.argsort(start.astype(np.int64) * 256 - level, kind="stable")
    start, level = start[order], level[order]
    reach = np.maximum.accumulate(start.astype(np.int64) + (1 << level.astype(np.int64)))
    opens = np.ones(len(start), bool)
    opens[1:] = start[1:] >= reach[:-1]
    first = np.flatnonzero(opens)
    if not len(first):
        return _empty()
    counts = (np.add.reduceat(count[order], first) for count in (negatives, positives))
    return Bins(start[first], level[first], *counts)


def _reduced(bins: Bins, limit: int) -> Bins:
    """Join neighbouring bins with few pixels until at most `limit` bins are left."""
    share, widest = 3 / limit, _WIDEST
    while len(bins.start) > limit:
        bins = _coarsened(bins, share, widest)
        share, widest = 2 * share, min(widest + 1, 31)
    return bins


def _coarsened(bins: Bins, share: float, widest: int) -> Bins:
    """Put each bin into the widest bin that holds at most `share` of all pixels.

    Positives and negatives have half of the weight each, because the error of an AUROC is the
    product of their shares. At most 3/share bins are left (as in a q-digest), plus those of the
    widest level.
    """
    weight = 0.5 * bins.negatives / max(int(bins.negatives.sum()), 1)
    weight += 0.5 * bins.positives / max(int(bins.positives.sum()), 1)
    level = bins.level.copy()
    active = np.arange(len(level))
    for target in range(widest, 0, -1):
        if not len(active):
            break
        parent = bins.start[active] >> np.uint32(target)
        first = np.flatnonzero(np.concatenate([[True], parent[1:] != parent[:-1]]))
        light = np.add.reduceat(weight[active], first) <= share
        settled = np.repeat(light, np.diff(np.append(first, len(active))))
        level[active[settled]] = np.maximum(level[active[settled]], target)
        active = active[~settled]
    start = (bins.start >> level) << level
    return _joined([bins._replace(start=start.astype(np.uint32), level=level)])


def _empty() -> Bins:
    none = np.zeros(0, np.int64)
    return Bins(np.zeros(0, np.uint32), np.zeros(0, np.uint8), none, none)


class RankingMetric(NamedTuple):
    """A value and its maximum difference from the value that unbinned scores would give."""

    value: float
    bound: float


def auroc(bins: Bins) -> RankingMetric:
    """Compute the area under the ROC curve (Fawcett, Pattern Recognition Letters 2006).

    This is the share of pairs in which the positive has the higher score; ties count one half. NaN
    without positives or without negatives.
    """
    positives, negatives = bins.positives.astype(np.float64), bins.negatives.astype(np.float64)
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return RankingMetric(_NAN, 0.0)
    below = np.cumsum(negatives) - 0.5 * negatives
    unsure = np.where(bins.level > 0, positives, 0.0)
    bound = float(0.5 * (unsure @ negatives) / pairs)
    return RankingMetric(float(positives @ below / pairs), bound)


def auroc_without(bins: Bins, missing: float) -> float:
    """Compute the AUROC without the pixels of `add_missing`, which win no pair.

    A given score of exactly 0 or Inf ties with them, and then wins half a pair too many for each.
    """
    won = auroc(bins).value * bins.positives.sum() * bins.negatives.sum()
    return without_missing(won, bins.positives.sum(), bins.negatives.sum(), missing)


def without_missing(won: float, positives: float, negatives: float, missing: float) -> float:
    """Divide the pairs that were won by the pairs of the pixels that have a prediction."""
    possible = (positives - missing) * (negatives - missing)
    return float(won / possible) if possible else _NAN


def average_precision(bins: Bins) -> RankingMetric:
    """Compute Σ (R_k − R_{k−1}) P_k of recall and precision; NaN without a positive.

    Positives with a score of exactly 0, among them those without a prediction, are never found: a
    threshold of 0 marks every pixel. Otherwise a missing prediction could improve the metric.
    """
    # Descending: a threshold at the lower end of a bin includes the complete bin.
    hits, alarms = bins.positives[::-1].astype(np.float64), bins.negatives[::-1]
    total = hits.sum()
    if total == 0:
        return RankingMetric(_NAN, 0.0)
    found, false = np.cumsum(hits), np.cumsum(alarms)
    precision = found / np.maximum(found + false, 1)
    # Within a bin of several scores, precision is between these two, whatever their order.
    with np.errstate(invalid="ignore", divide="ignore"):
        best = found / (found + false - alarms)
        before = found - hits
        worst = (before + (hits > 0)) / (before + (hits > 0) + false)
    single, zero = bins.level[::-1] == 0, bins.start[::-1] == 0
    precision, worst = np.where(zero & single, 0.0, precision), np.where(zero, 0.0, worst)
    unsure = ~single & (hits > 0)
    spread = np.where(unsure, np.maximum(best - precision, precision - worst), 0.0)
    return RankingMetric(float(hits @ precision / total), float(hits @ spread / total))


def false_positive_rate(bins: Bins, recall: float = 0.95) -> RankingMetric:
    """Compute the false positive rate at a recall (FPR95; Liang et al., ICLR 2018).

    The threshold is the highest one with this recall. NaN without positives or without negatives.
    """
    hits, alarms = np.cumsum(bins.positives[::-1]), np.cumsum(bins.negatives[::-1])
    if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
        return RankingMetric(_NAN, 0.0)
    at = int(np.argmax(hits >= recall * hits[-1]))
    unsure = bins.negatives[::-1][at] if bins.level[::-1][at] > 0 else 0
    return RankingMetric(float(alarms[at] / alarms[-1]), float(unsure / alarms[-1]))


def pairs_won(groups: list[Bins], common: Bins) -> np.ndarray:
    """Count the pairs that the positives of group d win against the negatives of group e.

    With this matrix U (groups, groups), the AUROC of the groups with weights w (drives that a
    bootstrap draws several times) is wᵀ U w / (w·positives · w·negatives).

    `common` is the histogram of all groups together. Pairs within one of its bins count one half,
    as ties do.
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
