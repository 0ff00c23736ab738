"""All metrics of what a robot receives, which carries no class probabilities."""

from __future__ import annotations

import numpy as np

from emu_core.metrics.calibration import Calibration
from emu_core.metrics.confusion import Confusion
from emu_core.metrics.depth import DepthErrors
from emu_core.metrics.ranking import ErrorRanking


class PerceptionMetrics:
    """All metrics of what a robot receives: classes, metres and the two uncertainties.

    The label's confidence is 1 − entropy/ln C, as on the wire, not the top-label probability,
    which a Perception does not carry: its ECE is comparable only with itself.

    Args:
        num_classes: C.
        max_depth: the depth range's end, metres.
    """

    def __init__(self, num_classes: int, max_depth: float):
        self.confusion = Confusion(num_classes)
        self.calibration = Calibration()
        self.label_ranking, self.depth_ranking = ErrorRanking(), ErrorRanking()
        self.depth = DepthErrors(max_depth)

    def update_labels(
        self, labels: np.ndarray, uncertainty: np.ndarray, truth: np.ndarray
    ) -> None:
        """Add a frame's classes: predicted ids uint8, entropy/ln C and true ids uint8, (H,W)."""
        self.confusion.update(labels, truth)
        known = truth < len(self.confusion.matrix)
        right = (labels == truth)[known]
        self.calibration.update(1 - uncertainty[known], right)
        self.label_ranking.update(uncertainty[known], ~right)

    def update_depth(self, depth: np.ndarray, depth_std: np.ndarray, truth: np.ndarray) -> None:
        """Add a frame's depth: estimate, its deviation and the truth (NaN: invalid), m, (H,W).

        Where there is a truth but no finite estimate, the ranking counts an error that the
        deviation did not find, whatever it says: else abstaining would pay.
        """
        wrong = self.depth.update(depth, truth)
        valid = np.isfinite(truth)
        score = np.where(np.isfinite(depth) & (depth > 0), depth_std, np.float32(0))
        self.depth_ranking.update(score[valid], wrong)

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
            "label_error_auroc": self.label_ranking.compute()["auroc"],
            "depth_error_auroc": self.depth_ranking.compute()["auroc"],
        }
