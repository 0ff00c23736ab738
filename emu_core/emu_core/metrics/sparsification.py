"""Errors that remain after dropping the most uncertain pixels: sparsification, AUSE and AURC.

Sources: Ilg et al., ECCV 2018 (AUSE); Geifman et al., ICLR 2019 (AURC, the area under the
risk-coverage curve).
"""

from __future__ import annotations

import numpy as np

from emu_core.metrics.accumulator import Accumulator
from emu_core.metrics.ranking import ScoreOrder

FRACTIONS = np.arange(100) / 100
"""Dropped fractions f = 0…0.99 of the most uncertain pixels."""


class Sparsification(Accumulator):
    """Area under the sparsification error (AUSE), the mean over images (docs/method.md, Metrics).

    For each image this is the mean error of the kept pixels, minus that of an oracle that drops
    the largest errors first, both divided by the mean error of all pixels. Among equal
    uncertainties the expected error of a random choice counts (with a root, the expected mean
    square). An image without errors is left out.

    A pixel without a prediction counts with the predictions that give the highest curve and the
    lowest oracle. So a missing prediction never improves a metric.

    Args:
        root: the errors are squares, and the root of their mean is the error (RMSE).
    """

    SUMS = ("curve", "oracle", "chance", "images")

    def __init__(self, root: bool = False):
        self.root = root
        self.curve, self.oracle, self.chance = np.zeros((3, len(FRACTIONS)))
        self.images = np.zeros(())

    def update(
        self,
        order: ScoreOrder,
        cumulative: np.ndarray,
        ascending: np.ndarray,
        missing: np.ndarray | None = None,
    ) -> None:
        """Add an image.

        Args:
            order: its pixels by uncertainty.
            cumulative: sums of the errors in that order, (n + 1,), see `ScoreOrder.cumulative`.
            ascending: its errors in ascending order, (n,).
            missing: largest possible errors of its pixels without a prediction, (m,).
        """
        present, absent = len(order), 0 if missing is None else len(missing)
        lost = 0.0 if missing is None else float(missing.sum())
        known = float(cumulative[-1])
        if known + lost <= 0:
            return
        kept = (present + absent) * (1 - FRACTIONS)
        # The curve keeps all missing pixels with their largest errors, and the most certain
        # others. The oracle keeps the missing pixels without errors.
        certain = np.minimum(kept, present)
        best = np.zeros(present + 1)
        np.cumsum(ascending, out=best[1:])
        if best[-1] > 0:
            best *= known / best[-1]  # the sorted errors may be rounded
        left = (
            lost + _kept_sum(order, cumulative, certain),
            np.interp(kept - absent, np.arange(len(best)), best),
            lost + known * certain / max(present, 1),
        )
        curves = np.stack(left) / (known + lost) / (1 - FRACTIONS)
        curve, oracle, chance = np.sqrt(curves) if self.root else curves
        self.curve += curve
        self.oracle += oracle
        self.chance += chance
        self.images += 1

    def compute(self) -> dict[str, float | np.ndarray]:
        """Compute the metrics.

        Returns:
            `ause`; `random`, the AUSE of random scores; the mean curves `curve` and `oracle`
            (100,) over `FRACTIONS`, 1 at f = 0 (the oracle is lower with missing predictions).
            NaN if no image has an error.
        """
        sums = np.stack([self.curve, self.oracle, self.chance])
        with np.errstate(invalid="ignore"):
            curve, oracle, chance = sums / self.images
        ause, random = _area(curve - oracle), _area(chance - oracle)
        return {"ause": ause, "random": random, "curve": curve, "oracle": oracle}


class RiskCoverage(Accumulator):
    """Area under the risk-coverage curve (AURC), the mean over images.

    This is the error rate of the most certain pixels, averaged over coverages 0…1. Pixels without
    a prediction count as the most certain ones, and as errors.
    """

    SUMS = ("area", "rate", "images")

    def __init__(self) -> None:
        self.area, self.rate, self.images = np.zeros(()), np.zeros(()), np.zeros(())

    def update(self, order: ScoreOrder, cumulative: np.ndarray, missing: int = 0) -> None:
        """Add an image: its pixels by uncertainty, and the sums of the 0/1 errors, (n + 1,).

        `missing` is the number of further pixels, without a prediction.
        """
        if len(order) + missing:
            self.area += _risk_area(order, cumulative, missing)
            self.rate += (cumulative[-1] + missing) / (len(order) + missing)
            self.images += 1

    def compute(self) -> dict[str, float]:
        """Compute `aurc` and `aurc_random`, the mean error rate; NaN without an image."""
        with np.errstate(invalid="ignore"):
            aurc, random = self.area / self.images, self.rate / self.images
        return {"aurc": float(aurc), "aurc_random": float(random)}


def _kept_sum(order: ScoreOrder, cumulative: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Sum the errors of the `kept` most certain pixels, in expectation over ties."""
    if not len(order):
        return np.zeros(len(kept))
    last = order.codes[np.clip(np.ceil(kept).astype(np.intp) - 1, 0, len(order) - 1)]
    below = np.searchsorted(order.codes, last, side="left")
    above = np.searchsorted(order.codes, last, side="right")
    part = (kept - below) / (above - below)
    return cumulative[below] + part * (cumulative[above] - cumulative[below])


def _risk_area(order: ScoreOrder, cumulative: np.ndarray, missing: int) -> float:
    """Integrate ∫ S(c)/c dc/n; S is linear between the ends of ties: S = A + s·(c − a)."""
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
    """Integrate over `FRACTIONS` by the trapezoidal rule."""
    return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(FRACTIONS)))
