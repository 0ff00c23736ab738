"""Fit the factor of the depth deviation by split conformal prediction.

The score of a pixel is |error| / deviation (Angelopoulos and Bates, arXiv 2107.07511).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from emu_core.evaluation.fitting.pixels import Pixels, normalized_entropy

SHARE = 0.9
"""Share of the true depths that the intervals of the fit hold."""

Z = NormalDist().inv_cdf(0.5 + SHARE / 2)
"""Half of the width of an interval that holds `SHARE` of a Gaussian, in standard deviations."""

_RATIOS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Candidates for std_doubt / std_scale; 0: the class has no influence."""

_ROUNDS = 30

_FRAMES = 3
"""Least number of distant frames of a data set from which a factor is fitted."""


@dataclass(frozen=True)
class Deviations:
    """Errors and deviations of pixels, the uncertainty of their class, and of their frames the
    number and the weight of the distance; all (m,)."""

    error: np.ndarray
    std: np.ndarray
    uncertainty: np.ndarray
    frame: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(
        cls,
        part: Pixels,
        temperature: float | Callable[[np.ndarray], np.ndarray],
        weights: np.ndarray | None = None,
    ) -> Deviations:
        """Prepare pixels.

        Args:
            part: The pixels.
            temperature: Of the classes; or a function of the weight.
            weights: Of each frame; None for 0.
        """
        of_frame = np.zeros(len(part.features)) if weights is None else weights
        weight = of_frame[part.depth_frame]
        t = temperature(weight)[:, None] if callable(temperature) else temperature
        return cls(
            np.abs(part.depth - part.true_depth),
            part.std,
            normalized_entropy(part.depth_scores / t),
            np.unique(part.depth_frame, return_inverse=True)[1],
            weight,
        )

    def select(self, mask: np.ndarray) -> Deviations:
        return Deviations(*(column[mask] for column in vars(self).values()))

    def inflated(self, ratio: float) -> np.ndarray:
        return self.std * (1 + ratio * self.uncertainty)

    def needed(self, ratio: float) -> np.ndarray:
        """Factor with which the interval of each pixel just holds its error."""
        return self.error / np.maximum(self.inflated(ratio), 1e-6) / Z


def fit_deviation(
    parts: Sequence[Deviations], shifted: Sequence[Deviations] = ()
) -> tuple[float, float]:
    """Find the factor `scale + doubt · uncertainty` of the deviation.

    For each candidate of the ratio of the two, `scale` is the largest of those that the data sets
    need: intervals that are too narrow are worse than intervals that are too wide. The ratio is
    the one with the lowest Gaussian NLL on `shifted`, or without these on one half of the frames
    of `parts` after a fit on the other half.
    """
    if shifted:
        folds = [(parts, shifted)]
    else:
        odd = [d.select(d.frame % 2 == 1) for d in parts]
        even = [d.select(d.frame % 2 == 0) for d in parts]
        complete = all(len(d.error) for d in [*odd, *even])
        folds = [(odd, even), (even, odd)] if complete else []
    losses = {
        ratio: sum(_loss(tested, ratio, _scale(fitted, ratio)) for fitted, tested in folds)
        for ratio in _RATIOS
    }
    best = min(losses, key=losses.__getitem__)  # the first one if all are equal
    return _scale(parts, best), best * _scale(parts, best)


def fit_distant_deviation(
    known: Deviations, others: Sequence[Deviations], changed: Sequence[Deviations] = ()
) -> tuple[float, float, float]:
    """Find the factor `(scale + doubt · uncertainty) · (1 + (distant − 1) · weight)`.

    For each candidate of the ratio of the first two, `scale` is what the known frames need, and
    `scale · distant` what the other data sets need together; all count equally. The ratio is the
    one with the lowest Gaussian NLL on all but the known frames.

    Args:
        known: Pixels of the known frames.
        others: Pixels of other data sets.
        changed: Pixels of changed frames. Where no other data set has distant frames, the distant
            ones of these count instead.

    Returns:
        scale, doubt, and distant, which is at least 1.

    Raises:
        ValueError: There are not enough distant frames.
    """
    needy = [d for d in others if _has_distant(d)]
    needy = needy or [d.select(d.weight == 1) for d in changed if _has_distant(d)]
    if not needy:
        raise ValueError(
            f"No other data set and no shift has {_FRAMES} frames with true depth that are far "
            "from the first data set, so the factor of distant images cannot be fitted: add one, "
            "or calibrate without --distance."
        )
    ends = {ratio: _near_and_far(known, needy, ratio) for ratio in _RATIOS}

    def loss(ratio: float) -> float:
        near, far = ends[ratio]
        tested = (*others, *changed)
        return sum(_loss([d], ratio, near + (far - near) * d.weight) for d in tested)

    best = min(_RATIOS, key=loss)  # the first one if all are equal
    near, far = ends[best]
    return near, best * near, far / near


def _has_distant(part: Deviations) -> bool:
    return len(np.unique(part.frame[part.weight == 1])) >= _FRAMES


def _near_and_far(
    known: Deviations, others: Sequence[Deviations], ratio: float
) -> tuple[float, float]:
    """Factors at weights 0 and 1 with which the intervals hold `SHARE` of the known depths, and of
    those of the others together."""
    near = far = _scale([known], ratio)
    for _ in range(_ROUNDS):  # each depends little on the other
        far = max(near, _needed(others, ratio, [d.weight for d in others], near))
        near = max(_needed([known], ratio, [1 - known.weight], far), 1e-3)
    return near, max(near, far)


def _needed(
    parts: Sequence[Deviations], ratio: float, shares: Sequence[np.ndarray], other: float
) -> float:
    """Factor at one end with which the intervals hold, given the factor at the other end.

    Args:
        parts, ratio: Pixels, and std_doubt / std_scale. All parts count equally.
        shares: Share of the factor in that of each pixel, (m,); the rest is the other's.
        other: Factor at the other end.
    """
    scores, counts = [], []
    for part, share in zip(parts, shares, strict=True):
        need = part.needed(ratio)
        fixed = np.where(need <= other, -np.inf, np.inf)  # of pixels that it does not change
        with np.errstate(divide="ignore", invalid="ignore"):
            scores.append(np.where(share > 0, (need - other * (1 - share)) / share, fixed))
        counts.append(np.full(len(need), 1 / len(need)))
    score, weight = np.concatenate(scores), np.concatenate(counts)
    order = np.argsort(score)
    reached = np.searchsorted(np.cumsum(weight[order]), SHARE * len(parts) * (1 - 1e-9))
    found = float(score[order][min(int(reached), len(score) - 1)])
    if np.isposinf(found):  # other pixels miss too often: those that it alone decides count
        distant = [p.select(share == 1) for p, share in zip(parts, shares, strict=True)]
        return _scale([part for part in distant if len(part.error)], ratio)
    return found


def _scale(parts: Sequence[Deviations], ratio: float) -> float:
    """Factor with which the intervals hold at least `SHARE` of the depths of each data set."""
    return max(1e-3, *(_quantile(part.needed(ratio)) for part in parts))


def _loss(tested: Sequence[Deviations], ratio: float, scale: float | np.ndarray) -> float:
    """Gaussian NLL of pixels, a mean over data sets."""
    losses = []
    for part in tested:
        std = scale * part.inflated(ratio) + 1e-6
        losses.append(np.mean(0.5 * (part.error / std) ** 2 + np.log(std)))
    return float(np.mean(losses))


def _quantile(scores: np.ndarray) -> float:
    """Value that `SHARE` of the scores, and of one more score like them, do not exceed."""
    level = min(1.0, np.ceil((len(scores) + 1) * SHARE) / len(scores))
    return float(np.quantile(scores, level, method="higher"))
