"""All metrics of what a robot receives, which carries no class probabilities."""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import same_shape
from emu_core.metrics.classes import Calibration, Confusion
from emu_core.metrics.depth import DepthErrors, is_estimate
from emu_core.metrics.ranking import BINS, ScoreHistogram, add_missing, ascending, auroc


class PerceptionMetrics:
    """All metrics of what a robot receives: classes, metres and the two uncertainties.

    The label's confidence is 1 − entropy/ln C, as on the wire, not the top-label probability,
    which a Perception does not carry: its ECE is comparable only with itself.

    Args:
        num_classes: C.
        max_depth: the depth range's end, metres.
        bins: of each pooled ranking.
    """

    def __init__(self, num_classes: int, max_depth: float, bins: int = BINS):
        self.confusion = Confusion(num_classes)
        self.calibration = Calibration()
        self.label_ranking, self.depth_ranking = ScoreHistogram(bins), ScoreHistogram(bins)
        self.depth = DepthErrors(max_depth)

    def update_labels(
        self, labels: np.ndarray, uncertainty: np.ndarray, truth: np.ndarray
    ) -> None:
        """Add a frame's classes: predicted ids uint8, entropy/ln C and true ids uint8, (H,W)."""
        self.confusion.update(labels, truth)
        known = truth < len(self.confusion.matrix)
        right = (labels == truth)[known]
        self.calibration.update(1 - uncertainty[known], right)
        self.label_ranking.update(ascending(uncertainty[known]), ~right)

    def update_depth(self, depth: np.ndarray, depth_std: np.ndarray, truth: np.ndarray) -> None:
        """Add a frame's depth: estimate, its deviation and the truth (NaN: invalid), m, (H,W).

        Where there is a truth but no estimate (`is_estimate`), the ranking counts an error that
        the deviation did not find, whatever it says, and a false alarm: else abstaining would pay.
        """
        same_shape(depth=depth, depth_std=depth_std, truth=truth)
        there = is_estimate(depth, depth_std)
        wrong = self.depth.update(np.where(there, depth, np.float32(np.nan)), truth)
        valid = np.isfinite(truth)
        given = there[valid]
        self.depth_ranking.update(ascending(depth_std[valid][given]), wrong[given])
        add_missing(self.depth_ranking, int(np.count_nonzero(~given)))

    def compute(self) -> dict[str, float]:
        """The figures of `summary.json`."""
        depth = self.depth.compute()
        return {
            "miou": float(self.confusion.compute()["miou"]),
            "depth_rmse_m": depth["rmse"],
            "depth_abs_rel": depth["abs_rel"],
            "depth_delta1": depth["delta1"],
            "depth_coverage": depth["coverage"],
            "label_ece": float(self.calibration.compute()["ece"]),
            "label_error_auroc": auroc(self.label_ranking.bins()).value,
            "depth_error_auroc": auroc(self.depth_ranking.bins()).value,
        }

    def bounds(self) -> dict[str, float]:
        """The most that binned scores can have changed the pooled rankings' figures."""
        return {
            "label_error_auroc": auroc(self.label_ranking.bins()).bound,
            "depth_error_auroc": auroc(self.depth_ranking.bins()).bound,
        }
