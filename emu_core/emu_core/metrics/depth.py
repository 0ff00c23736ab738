"""Errors of depth estimates in metres and as ratios; a missing estimate is an error, too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emu_core.metrics.accumulator import Accumulator, same_shape

DELTA = 1.25
"""Base of δ1…δ3; a depth is inaccurate from this ratio on (docs/method.md, Metrics)."""

METRE = 1.0
"""A depth is inaccurate in metres from this distance to the truth on (docs/method.md, Metrics)."""


class Residuals(NamedTuple):
    """Errors of the estimates ŷ of pixels with a valid truth y; float64, each (n,)."""

    distance: np.ndarray  # |ŷ − y|, metres, with ŷ limited to the depth range
    relative: np.ndarray  # |ŷ − y|/y, with ŷ limited to the depth range
    ratio: np.ndarray  # max(ŷ/y, y/ŷ), Inf for a missing estimate
    usable: np.ndarray  # whether there is an estimate, bool

    def where(self, chosen: np.ndarray) -> Residuals:
        """Return the errors of some pixels, bool (n,)."""
        return Residuals(*(values[chosen] for values in self))

    @property
    def wrong_ratio(self) -> np.ndarray:
        """Whether the ratio is an error, bool (n,)."""
        return self.ratio >= DELTA

    @property
    def wrong_metres(self) -> np.ndarray:
        """Whether the distance in metres is an error, bool (n,)."""
        return self.distance >= METRE


def is_estimate(depth: np.ndarray, spread: np.ndarray | None = None) -> np.ndarray:
    """Find the pixels (bool) with an estimate: a finite depth above 0 m, with a finite spread.

    The spread is the variance or the standard deviation; arrays have any shape.
    """
    there = np.isfinite(depth) & (depth > 0)
    return there if spread is None else there & np.isfinite(spread)


def residuals(depth: np.ndarray, truth: np.ndarray, max_depth: float) -> Residuals:
    """Compare estimates with valid truths, both metres (n,).

    A missing estimate (see `is_estimate`) counts as the end of the depth range, 0 or `max_depth`,
    that is farther from the truth. An estimate beyond the range counts as `max_depth`, so it is
    never worse than a missing one; its ratio is not limited.
    """
    y, estimate = truth.astype(np.float64), depth.astype(np.float64)
    usable = is_estimate(estimate)
    worst = np.where(y > max_depth / 2, 0.0, max_depth)
    filled = np.where(usable, estimate, worst)
    distance = np.abs(np.minimum(filled, max_depth) - y)
    with np.errstate(divide="ignore"):
        ratio = np.where(usable, np.maximum(filled / y, y / filled), np.inf)
    return Residuals(distance, distance / y, ratio, usable)


class DepthErrors(Accumulator):
    """Depth errors over every pixel with valid ground truth (Eigen et al., NeurIPS 2014).

    A missing estimate fails every δ and counts as the worse end of the depth range, which ends at
    `max_depth` metres (see `residuals`). So a missing estimate never improves a metric.
    """

    SUMS = ("sums",)

    def __init__(self, max_depth: float):
        self.max_depth = max_depth
        # All pixels, pixels with an estimate, squared and relative errors, pixels in δ1…δ3.
        self.sums = np.zeros(7)

    def update(self, depth: np.ndarray, truth: np.ndarray) -> Residuals:
        """Add an image: estimate and truth in metres (H,W), the truth NaN where it is invalid.

        Returns:
            The errors of the pixels with a valid truth.
        """
        same_shape(depth=depth, truth=truth)
        valid = np.isfinite(truth)
        off = residuals(depth[valid], truth[valid], self.max_depth)
        self.add(off)
        return off

    def add(self, off: Residuals) -> None:
        """Add pixels by their residuals."""
        within = (np.count_nonzero(off.ratio < DELTA**power) for power in (1, 2, 3))
        usable = np.count_nonzero(off.usable)
        errors = (np.sum(off.distance**2), np.sum(off.relative))
        self.sums += [len(off.distance), usable, *errors, *within]

    def compute(self) -> dict[str, float]:
        """Compute `rmse` (m), `abs_rel`, `delta1`…`delta3` and `coverage`; NaN without a pixel.

        `coverage` is the share of pixels with an estimate.
        """
        n, *sums = (float(value) for value in self.sums)
        coverage, square, relative, *deltas = (value / (n or float("nan")) for value in sums)
        return {
            "rmse": float(np.sqrt(square)),
            "abs_rel": relative,
            **{f"delta{power}": share for power, share in enumerate(deltas, 1)},
            "coverage": coverage,
        }
