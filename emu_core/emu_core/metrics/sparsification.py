"""Errors that are left when the most uncertain pixels are dropped: sparsification, AUSE, AURC.

Ilg et al., ECCV 2018 (AUSE); Geifman and El-Yaniv, NeurIPS 2017 (risk over coverage).
"""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import Additive
from emu_core.metrics.order import Order

FRACTIONS = np.arange(100) / 100
"""Dropped shares f = 0…0.99 of the most uncertain pixels."""


class Sparsification(Additive):
    """Area under the sparsification error (AUSE): per image, then the mean (paper.md §4).

    Of each image, the error of the pixels that are kept, less that of an oracle which drops the
    largest errors first, both over the error of all pixels. Among equal uncertainties those to
    drop are drawn by lot, in expectation (of the mean square, where a root is taken). An image
    without any error has no ranking and is left out.

    Args:
        root: the errors are squares, and the root of their mean is the error (RMSE).
    """

    SUMS = ("curve", "oracle", "images")

    def __init__(self, root: bool = False):
        self.root = root
        self.curve = np.zeros(len(FRACTIONS))
        self.oracle = np.zeros(len(FRACTIONS))
        self.images = np.zeros(())

    def update(self, order: Order, cumulative: np.ndarray, largest_last: np.ndarray) -> None:
        """Add an image.

        Args:
            order: its pixels by uncertainty.
            cumulative: errors summed up in that order, (n + 1,), as `order.cumulative` does.
            largest_last: its errors in ascending order, (n,).
        """
        if cumulative[-1] <= 0:
            return
        kept = len(order) * (1 - FRACTIONS)
        curve = _kept_sum(order, cumulative, kept) / kept
        best = np.zeros(len(cumulative))
        np.cumsum(largest_last, out=best[1:])
        oracle = np.interp(kept, np.arange(len(best)), best) / kept
        if self.root:
            curve, oracle = np.sqrt(curve), np.sqrt(oracle)
        self.curve += curve / curve[0]
        self.oracle += oracle / oracle[0]
        self.images += 1

    def compute(self) -> dict[str, float | np.ndarray]:
        """`ause`; `random`, what random scores would get; the mean curves `curve` and `oracle`
        (100,) over `FRACTIONS`, 1 at f = 0. NaN if no image has an error."""
        with np.errstate(invalid="ignore"):
            curve, oracle = self.curve / self.images, self.oracle / self.images
        return {
            "ause": _area(curve - oracle),
            "random": _area(1 - oracle),
            "curve": curve,
            "oracle": oracle,
        }


class RiskCoverage(Additive):
    """Area under the risk–coverage curve (AURC): per image, then the mean.

    Risk is the error rate among the most certain pixels, averaged over coverages 0…1.
    """

    SUMS = ("area", "rate", "images")

    def __init__(self) -> None:
        self.area = np.zeros(())
        self.rate = np.zeros(())
        self.images = np.zeros(())

    def update(self, order: Order, cumulative: np.ndarray) -> None:
        """Add an image: its pixels by uncertainty, and its 0/1 errors summed up in that order."""
        if len(order):
            self.area += _risk_area(order, cumulative)
            self.rate += cumulative[-1] / len(order)
            self.images += 1

    def compute(self) -> dict[str, float]:
        """`aurc` and `aurc_random`, what random scores would get: the mean of the images' error
        rates; NaN without an image."""
        with np.errstate(invalid="ignore"):
            return {
                "aurc": float(self.area / self.images),
                "aurc_random": float(self.rate / self.images),
            }


def _kept_sum(order: Order, cumulative: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Expected error of the `kept` most certain pixels together, ties drawn by lot."""
    last = order.codes[np.clip(np.ceil(kept).astype(np.intp) - 1, 0, len(order) - 1)]
    below = np.searchsorted(order.codes, last, side="left")
    above = np.searchsorted(order.codes, last, side="right")
    part = (kept - below) / (above - below)
    return cumulative[below] + part * (cumulative[above] - cumulative[below])


def _risk_area(order: Order, cumulative: np.ndarray) -> float:
    """∫ S(c)/c dc/n, S linear between the ends of ties: on each piece S = A + s·(c − a)."""
    ends = order.ties
    errors = cumulative[ends]
    a, b = ends[1:-1].astype(np.float64), ends[2:].astype(np.float64)
    slope = (errors[2:] - errors[1:-1]) / (b - a)
    rest = np.sum((errors[1:-1] - slope * a) * np.log(b / a))
    return float((errors[-1] + rest) / len(order))


def _area(values: np.ndarray) -> float:
    """Trapezoids over `FRACTIONS`."""
    return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(FRACTIONS)))
