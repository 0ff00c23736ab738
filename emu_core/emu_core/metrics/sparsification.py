"""Errors that are left when the most uncertain pixels are dropped: sparsification, AUSE, AURC.

Ilg et al., ECCV 2018 (AUSE); Geifman and El-Yaniv, NeurIPS 2017 (risk over coverage).
"""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import Additive
from emu_core.metrics.ranking import Order

FRACTIONS = np.arange(100) / 100
"""Dropped shares f = 0…0.99 of the most uncertain pixels."""


class Sparsification(Additive):
    """Area under the sparsification error (AUSE): per image, then the mean (paper.md §4).

    Of each image, the error of the pixels that are kept, less that of an oracle which drops the
    largest errors first, both over the error of all pixels. Among equal uncertainties those to
    drop are drawn by lot, in expectation (of the mean square, where a root is taken). An image
    without any error has no ranking and is left out.

    Pixels without an answer might have had any: the curve is then the highest, and the oracle the
    lowest, that any answers there would have given, or a little more. So abstaining never pays.

    Args:
        root: the errors are squares, and the root of their mean is the error (RMSE).
    """

    SUMS = ("curve", "oracle", "chance", "images")

    def __init__(self, root: bool = False):
        self.root = root
        self.curve = np.zeros(len(FRACTIONS))
        self.oracle = np.zeros(len(FRACTIONS))
        self.chance = np.zeros(len(FRACTIONS))
        self.images = np.zeros(())

    def update(
        self,
        order: Order,
        cumulative: np.ndarray,
        largest_last: np.ndarray,
        missing: np.ndarray | None = None,
    ) -> None:
        """Add an image.

        Args:
            order: its pixels by uncertainty.
            cumulative: errors summed up in that order, (n + 1,), as `order.cumulative` does.
            largest_last: its errors in ascending order, (n,).
            missing: the largest errors that its pixels without an answer could have, (m,).
        """
        present, absent = len(order), 0 if missing is None else len(missing)
        lost = 0.0 if missing is None else float(missing.sum())
        known = float(cumulative[-1])
        if known + lost <= 0:
            return
        kept = (present + absent) * (1 - FRACTIONS)
        # Highest: of the answers the most certain, as if nothing else were kept, and all that is
        # lost. Lowest: what is missing is kept and right, and yet counts in the whole error.
        certain = np.minimum(kept, present)
        best = np.zeros(present + 1)
        np.cumsum(largest_last, out=best[1:])
        if best[-1] > 0:
            best *= known / best[-1]  # the errors may have been rounded to be sorted
        left = (
            lost + _kept_sum(order, cumulative, certain),
            np.interp(kept - absent, np.arange(len(best)), best),
            lost + known * certain / max(present, 1),
        )
        curve, oracle, chance = (errors / (known + lost) / (1 - FRACTIONS) for errors in left)
        if self.root:
            curve, oracle, chance = np.sqrt(curve), np.sqrt(oracle), np.sqrt(chance)
        self.curve += curve
        self.oracle += oracle
        self.chance += chance
        self.images += 1

    def compute(self) -> dict[str, float | np.ndarray]:
        """`ause`; `random`, what random scores would get; the mean curves `curve` and `oracle`
        (100,) over `FRACTIONS`, 1 at f = 0 (the oracle less where answers are missing). NaN if no
        image has an error."""
        with np.errstate(invalid="ignore"):
            curve, oracle, chance = (
                sums / self.images for sums in (self.curve, self.oracle, self.chance)
            )
        return {
            "ause": _area(curve - oracle),
            "random": _area(chance - oracle),
            "curve": curve,
            "oracle": oracle,
        }


class RiskCoverage(Additive):
    """Area under the risk–coverage curve (AURC): per image, then the mean.

    Risk is the error rate among the most certain pixels, averaged over coverages 0…1. Pixels
    without an answer are the most certain ones, and wrong.
    """

    SUMS = ("area", "rate", "images")

    def __init__(self) -> None:
        self.area = np.zeros(())
        self.rate = np.zeros(())
        self.images = np.zeros(())

    def update(self, order: Order, cumulative: np.ndarray, missing: int = 0) -> None:
        """Add an image: its pixels by uncertainty, its 0/1 errors summed up in that order, and
        how many pixels more have no answer."""
        if len(order) + missing:
            self.area += _risk_area(order, cumulative, missing)
            self.rate += (cumulative[-1] + missing) / (len(order) + missing)
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
    if not len(order):
        return np.zeros(len(kept))
    last = order.codes[np.clip(np.ceil(kept).astype(np.intp) - 1, 0, len(order) - 1)]
    below = np.searchsorted(order.codes, last, side="left")
    above = np.searchsorted(order.codes, last, side="right")
    part = (kept - below) / (above - below)
    return cumulative[below] + part * (cumulative[above] - cumulative[below])


def _risk_area(order: Order, cumulative: np.ndarray, missing: int) -> float:
    """∫ S(c)/c dc/n, S linear between the ends of ties: on each piece S = A + s·(c − a)."""
    ends = order.ties
    errors = cumulative[ends]
    if missing:
        ends = np.concatenate([[0], ends + missing])
        errors = np.concatenate([[0], errors + missing])
    a, b = ends[1:-1].astype(np.float64), ends[2:].astype(np.float64)
    slope = (errors[2:] - errors[1:-1]) / (b - a)
    rest = np.sum((errors[1:-1] - slope * a) * np.log(b / a))
    return float((errors[-1] + rest) / ends[-1])


def _area(values: np.ndarray) -> float:
    """Trapezoids over `FRACTIONS`."""
    return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(FRACTIONS)))
