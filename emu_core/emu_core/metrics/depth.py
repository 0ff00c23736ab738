"""Errors of depth estimates in metres and in ratios; a missing estimate is an error too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emu_core.metrics.additive import Additive, same_shape

DELTA = 1.25
"""Base of δ1…δ3, and the ratio from which on a depth counts as inaccurate (paper.md §4)."""


class Residuals(NamedTuple):
    """What is wrong with the estimates of pixels with a valid truth; float64, each (n,)."""

    distance: np.ndarray
    """|ŷ − y|, metres, ŷ within the range."""
    relative: np.ndarray
    """|ŷ − y|/y, ŷ within the range."""
    ratio: np.ndarray
    """max(ŷ/y, y/ŷ), Inf where the estimate is missing."""
    usable: np.ndarray
    """Whether there is an estimate, bool."""


def is_estimate(depth: np.ndarray, spread: np.ndarray | None = None) -> np.ndarray:
    """Where there is an estimate, bool: a finite depth above 0 m.

    Args:
        depth: metres, of any shape.
        spread: its variance or deviation; where that is not finite, there is no estimate either.
    """
    there = np.isfinite(depth) & (depth > 0)
    return there if spread is None else there & np.isfinite(spread)


def residuals(depth: np.ndarray, truth: np.ndarray, max_depth: float) -> Residuals:
    """Compare estimates with valid truths, both metres (n,).

    Where there `is_estimate` none, that end of the range counts, 0 or `max_depth`, which lies
    farther from the truth; one beyond the range is as far off as the range's end, and so never
    worse than none. Its ratio is its own.
    """
    y, estimate = truth.astype(np.float64), depth.astype(np.float64)
    usable = is_estimate(estimate)
    worst = np.where(y > max_depth / 2, 0.0, max_depth)
    filled = np.where(usable, estimate, worst)
    distance = np.abs(np.minimum(filled, max_depth) - y)
    with np.errstate(divide="ignore"):
        ratio = np.where(usable, np.maximum(filled / y, y / filled), np.inf)
    return Residuals(distance, distance / y, ratio, usable)


class DepthErrors(Additive):
    """Depth errors over every pixel with valid ground truth.

    A missing estimate is a δ failure, and counts as the range's worse end (see `residuals`). So
    abstaining improves no score.

    Args:
        max_depth: the range's far end, metres.
    """

    SUMS = ("sums",)

    def __init__(self, max_depth: float):
        self.max_depth = max_depth
        self.sums = np.zeros(7)
        """Pixels, covered ones, squares, relative errors, and pixels within δ1, δ2 and δ3."""

    def update(self, depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Add an image: estimate and truth in metres (H,W), the truth NaN where it is invalid.

        Returns:
            Which valid pixels are errors, max(ŷ/y, y/ŷ) ≥ 1.25, bool (number of valid pixels,).
        """
        same_shape(depth=depth, truth=truth)
        valid = np.isfinite(truth)
        off = residuals(depth[valid], truth[valid], self.max_depth)
        self.add(off)
        return off.ratio >= DELTA

    def add(self, off: Residuals) -> None:
        """Add pixels by their residuals."""
        within = (np.count_nonzero(off.ratio < DELTA**power) for power in (1, 2, 3))
        self.sums += [
            len(off.distance),
            np.count_nonzero(off.usable),
            np.sum(off.distance**2),
            np.sum(off.relative),
            *within,
        ]

    def compute(self) -> dict[str, float]:
        """`rmse` (m), `abs_rel`, `delta1`…`delta3`, `coverage`: the share of pixels with a finite
        estimate above 0; all NaN without a pixel."""
        n, covered, square, relative, d1, d2, d3 = (float(value) for value in self.sums)
        n = n or float("nan")
        return {
            "rmse": float(np.sqrt(square / n)),
            "abs_rel": relative / n,
            "delta1": d1 / n,
            "delta2": d2 / n,
            "delta3": d3 / n,
            "coverage": covered / n,
        }
