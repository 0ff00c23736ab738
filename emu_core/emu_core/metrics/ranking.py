"""Counts of scores in bins that follow them, for pooled rankings with a printed error bound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from emu_core.metrics.additive import Additive

BINS = 1 << 20
"""Bins at most by default: 22 MB, and an AUROC's error bound of some 10⁻⁶."""

_WIDEST = 11
"""Bins get no wider than 2¹¹ float32 codes, 2⁻¹² relative, while there is room: where pixels are
rare now, they may be frequent in the next drive."""


class Bins(NamedTuple):
    """Disjoint bins of float32 codes, ascending. A bin is [start, start + 2^level), start a
    multiple of 2^level, so that two bins of different histograms are nested or apart."""

    start: np.ndarray
    """uint32 (n,)."""
    level: np.ndarray
    """uint8 (n,); a bin of level 0 is one float32 number, its ties are true ones."""
    negatives: np.ndarray
    """int64 (n,)."""
    positives: np.ndarray
    """int64 (n,)."""


class ScoreHistogram(Additive):
    """Scores of positives (errors, unknown objects) and negatives, in a bounded number of bins.

    While there is room, every float32 number has a bin of its own, and rankings are exact. Then
    neighbouring bins join, the ones with fewest pixels first (as in the q-digest of Shrivastava
    et al., SenSys 2004), so that a bin holds about the same share of pixels wherever the scores
    gather: also if nearly all lie within a thousandth of each other.

    Args:
        bins: how many bins to hold at most.
    """

    def __init__(self, bins: int = BINS):
        if bins < 1:
            raise ValueError(f"Expected argument `bins` to be ≥ 1, but got {bins}.")
        self.limit = bins
        self._bins = _empty()
        self._waiting: list[Bins] = []

    def update(self, order: Order, positive: np.ndarray) -> None:
        """Add pixels: their order by score, and whether each is a positive, bool (n,)."""
        if len(order) != positive.size:
            raise ValueError(
                f"Expected `positive` of the {len(order)} pixels in `order`, but got "
                f"{positive.size}."
            )
        if not len(order):
            return
        first = order.ties[:-1]
        found = np.add.reduceat(positive.ravel()[order.index], first, dtype=np.int64)
        count = np.diff(order.ties)
        self._add(Bins(order.codes[first], np.zeros(len(first), np.uint8), count - found, found))

    def bins(self) -> Bins:
        """All that was counted."""
        if self._waiting:
            self._bins = _limited(joined([self._bins, *self._waiting]), self.limit)
            self._waiting = []
        return self._bins

    def state(self) -> dict[str, np.ndarray]:
        """The bins by field name."""
        return {name: array.copy() for name, array in self.bins()._asdict().items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace what was counted by a `state()`."""
        self._waiting = []
        self._bins = _limited(Bins(**{name: state[name] for name in Bins._fields}), self.limit)

    def merge(self, other: Additive) -> None:
        """Add another histogram's counts; where bins differ, the wider one stays."""
        if not isinstance(other, ScoreHistogram):
            raise ValueError(
                f"Expected `other` to be a ScoreHistogram, but got a {type(other).__name__}."
            )
        self._add(other.bins())

    def _add(self, bins: Bins) -> None:
        self._waiting.append(bins)
        if sum(len(waiting.start) for waiting in self._waiting) > self.limit:
            self.bins()  # joining is dear, so images wait for it together


def add_missing(errors: ScoreHistogram, count: int) -> None:
    """Count pixels without an answer among errors: as errors of the least uncertainty, and as
    right ones of the greatest. Without the latter, abstaining where one is right would pay."""
    if count:
        for score, wrong in ((0.0, True), (np.inf, False)):
            errors.update(ascending(np.full(count, score, np.float32)), np.full(count, wrong))


def joined(parts: Iterable[Bins]) -> Bins:
    """Add histograms up; where bins overlap, the widest takes the others' counts."""
    start, level, negatives, positives = (
        np.concatenate(field) for field in zip(*parts, strict=True)
    )
    # Ascending, and the widest first among those that begin together.
    order = np.argsort(start.astype(np.int64) * 256 - level, kind="stable")
    start, level = start[order], level[order]
    reach = np.maximum.accumulate(start.astype(np.int64) + (1 << level.astype(np.int64)))
    opens = np.ones(len(start), bool)
    opens[1:] = start[1:] >= reach[:-1]
    first = np.flatnonzero(opens)
    if not len(first):
        return _empty()
    return Bins(
        start[first],
        level[first],
        np.add.reduceat(negatives[order], first),
        np.add.reduceat(positives[order], first),
    )


def _limited(bins: Bins, limit: int) -> Bins:
    """Join light neighbours until at most `limit` bins are left."""
    share, widest = 3 / limit, _WIDEST
    while len(bins.start) > limit:
        bins = _coarsened(bins, share, widest)
        share, widest = 2 * share, min(widest + 1, 31)
    return bins


def _coarsened(bins: Bins, share: float, widest: int) -> Bins:
    """Put each bin into the widest one that holds no more than `share` of all pixels.

    Positives and negatives weigh one half each, for the error of an AUROC is the product of their
    shares. At most 3/share bins are left (as in a q-digest) beside those at the widest level.
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
    return joined([bins._replace(start=start.astype(np.uint32), level=level)])


def _empty() -> Bins:
    none = np.zeros(0, np.int64)
    return Bins(np.zeros(0, np.uint32), np.zeros(0, np.uint8), none, none)


@dataclass(frozen=True)
class Order:
    """Where the pixels of an image stand by a score; ties keep no order of their own.

    Args:
        codes: the scores' `rank_codes`, ascending, uint32 (n,).
        index: which pixel stands there, intp (n,).
    """

    codes: np.ndarray
    index: np.ndarray

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
        """The scores' median; NaN without a pixel."""
        if not len(self.codes):
            return float("nan")
        middle = self.codes[[(len(self.codes) - 1) // 2, len(self.codes) // 2]]
        return float(middle.view(np.float32).astype(np.float64).mean())

    def cumulative(self, error: np.ndarray) -> np.ndarray:
        """Error of the k lowest scores together, k = 0…n: float64 (n + 1,)."""
        total = np.zeros(len(self.codes) + 1)
        np.cumsum(error.ravel()[self.index], out=total[1:])
        return total


def ascending(score: np.ndarray) -> Order:
    """Sort pixels by non-negative scores of any shape; NaN stands last, with +Inf."""
    # Code and place in one integer: numpy sorts these twice as fast as it finds an argsort.
    keys = rank_codes(score).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    codes = (keys >> np.uint64(32)).astype(np.uint32)
    return Order(codes, (keys & np.uint64(0xFFFFFFFF)).astype(np.intp))


def rank_codes(score: np.ndarray) -> np.ndarray:
    """Integers, uint32 (n,), in the order of non-negative float32 scores of any shape.

    They are the scores' own float32 codes. Negative scores rank as 0, NaN as +Inf.
    """
    flat = np.ascontiguousarray(score.ravel(), dtype=np.float32)
    flat = np.where(np.isnan(flat), np.float32(np.inf), np.maximum(flat, np.float32(0)))
    # Adding +0 turns −0 into 0: the code of −0 would rank above every number.
    return (flat + np.float32(0)).view(np.uint32)


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
