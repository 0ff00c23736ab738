"""All metrics of the output on a robot, which has no class probabilities."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from emu_core.labels import DOUBTFUL
from emu_core.metrics.accumulator import same_shape
from emu_core.metrics.classes import CalibrationError, Confusion
from emu_core.metrics.depth import DepthErrors, is_estimate
from emu_core.metrics.proper import COVERAGES, GaussianScores
from emu_core.metrics.ranking import (
    BINS,
    ScoreHistogram,
    add_missing,
    auroc,
    auroc_without,
    sort_scores,
)

_NINETY = COVERAGES.index(0.9)


class PerceptionMetrics:
    """All metrics of labels, depth and the two uncertainties.

    The confidence of a label is 1 − entropy/ln C, as in the robot's messages, not the top-label
    probability, which is not available: compare this ECE only with itself.

    Args:
        num_classes, max_depth: C (of any value without labels), and the end of the depth range in
            metres.
        bins: of each pooled ranking.
        outputs: what the model has of labels, depth and depth_std; other metrics are left out.
    """

    def __init__(
        self,
        num_classes: int,
        max_depth: float,
        bins: int = BINS,
        outputs: Collection[str] = ("labels", "depth", "depth_std"),
    ):
        self.outputs = outputs
        self.confusion = Confusion(num_classes if "labels" in outputs else 2)
        self.calibration = CalibrationError()
        self.label_ranking = ScoreHistogram(bins)
        self.ratio_ranking, self.metre_ranking = ScoreHistogram(bins), ScoreHistogram(bins)
        self.missing = 0  # pixels with a true depth but without an estimate
        self.depth, self.intervals = DepthErrors(max_depth), GaussianScores()
        self.infinite: int | None = None  # of `measured` pixels; None before the first frame
        self.measured = 0

    def update_labels(
        self, labels: np.ndarray, uncertainty: np.ndarray, truth: np.ndarray
    ) -> None:
        """Add a frame, (H,W): predicted ids uint8, entropy/ln C 0…1, and true ids uint8."""
        self.confusion.update(labels, truth)
        known = truth < len(self.confusion.matrix)
        right = (labels == truth)[known]
        self.calibration.update(1 - uncertainty[known], right)
        self.label_ranking.update(sort_scores(uncertainty[known]), ~right)

    def update_depth(
        self, depth: np.ndarray, depth_std: np.ndarray | None, truth: np.ndarray
    ) -> None:
        """Add a frame, metres, (H,W): estimate, standard deviation, and truth (NaN: invalid).

        Without a standard deviation, only depth is scored.

        A pixel with a truth but without an estimate (`is_estimate`) counts in the ranking as an
        undetected error and as a false alarm: otherwise missing estimates would improve it.
        """
        std = np.zeros_like(depth) if depth_std is None else depth_std
        same_shape(depth=depth, depth_std=std, truth=truth)
        there = is_estimate(depth, std)
        off = self.depth.update(np.where(there, depth, np.float32(np.nan)), truth)
        if depth_std is None:
            return
        valid = np.isfinite(truth)
        given = there[valid]
        deviation, off = depth_std[valid][given], off.where(given)
        relative = deviation / depth[valid][given]
        missing = int(np.count_nonzero(~given))
        self.missing += missing
        self.ratio_ranking.update(sort_scores(relative), off.wrong_ratio)
        self.metre_ranking.update(sort_scores(deviation), off.wrong_metres)
        for histogram in (self.ratio_ranking, self.metre_ranking):
            add_missing(histogram, missing)
        variance = depth_std[valid].astype(np.float64) ** 2
        variance[~given] = np.nan  # outside of every interval
        self.intervals.update(depth[valid], variance, truth[valid], self.depth.max_depth)

    def update_infinite(
        self, depth: np.ndarray, uncertainty: np.ndarray | None, truth: np.ndarray
    ) -> None:
        """Count the pixels with a true depth that a planner takes for free space.

        Args:
            depth: Estimate in metres (H,W); +Inf: sky or beyond the range of the model.
            uncertainty: Of the class, 0 to 1 (H,W); where it is above `DOUBTFUL`, the node gives
                no estimate instead of +Inf. None: never.
            truth: Metres (H,W), NaN where invalid.
        """
        same_shape(depth=depth, truth=truth)
        free = np.isposinf(depth)
        if uncertainty is not None:
            free &= uncertainty <= DOUBTFUL
        valid = np.isfinite(truth)
        self.infinite = (self.infinite or 0) + int(np.count_nonzero(free & valid))
        self.measured += int(np.count_nonzero(valid))

    def compute(self) -> dict[str, float]:
        """Compute the metrics of the model's outputs by their names in `summary.json`."""
        depth = self.depth.compute()
        values = {
            "miou": float(self.confusion.compute()["miou"]),
            "depth_rmse_m": depth["rmse"],
            **{f"depth_{name}": depth[name] for name in ("abs_rel", "delta1", "coverage")},
            "depth_interval_90": float(np.asarray(self.intervals.compute()["coverage"])[_NINETY]),
            "label_ece": float(self.calibration.compute()["ece"]),
            **{name: auroc(x.bins()).value for name, x in self._rankings().items()},
            "depth_ratio_error_auroc_given": auroc_without(
                self.ratio_ranking.bins(), self.missing
            ),
        }
        if self.infinite is not None:
            values["depth_false_infinity"] = self.infinite / (self.measured or float("nan"))
        return {name: value for name, value in values.items() if _needs(name) in self.outputs}

    def bounds(self) -> dict[str, float]:
        """Compute the error bounds of the pooled rankings, which come from binning the scores."""
        return {name: auroc(x.bins()).bound for name, x in self._rankings().items()}

    def _rankings(self) -> dict[str, ScoreHistogram]:
        return {
            "label_error_auroc": self.label_ranking,
            "depth_ratio_error_auroc": self.ratio_ranking,
            "depth_metre_error_auroc": self.metre_ranking,
        }


def _needs(metric: str) -> str:
    """Return the output that a metric is about."""
    if metric == "depth_interval_90" or ("error_auroc" in metric and metric.startswith("depth")):
        return "depth_std"
    return "depth" if metric.startswith("depth") else "labels"
