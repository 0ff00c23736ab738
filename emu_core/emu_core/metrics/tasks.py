"""The study's figures of depth and of its deviation."""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import Additive, same_shape
from emu_core.metrics.certainty import Certainty
from emu_core.metrics.classes import Calibration, Confusion
from emu_core.metrics.depth import DELTA, DepthErrors, Residuals, is_estimate, residuals
from emu_core.metrics.proper import COVERAGES, ClassScores, GaussianScores, class_pixels
from emu_core.metrics.ranking import ScoreHistogram, add_missing, ascending, auroc
from emu_core.metrics.road_objects import Detection, RoadObjects
from emu_core.metrics.sparsification import FRACTIONS, RiskCoverage, Sparsification

_PRINTED = (0.5, 0.9, 0.95)
"""Intervals whose coverage is a figure; `arrays` has all of `COVERAGES`."""


class DepthStudy:
    """Streaming figures of Gaussian depths; `StudyMetrics` says how to use them.

    A pixel with a truth but without an estimate (`is_estimate`) is an error that the deviation
    did not find, and in the pooled ranking also a false alarm above all others; of an unknown
    object it is overlooked, of the road a false alarm. So abstaining improves no figure, with two
    exceptions: the shares of certain pixels, whose thresholds it may move (`Certainty`), and an
    average precision below the positives' share, to which it may rise: precision takes ties as
    one.

    Args:
        max_depth: the range's end, metres.
        bins: of each pooled ranking.
    """

    def __init__(self, max_depth: float, bins: int):
        self.distances, self.scores = DepthErrors(max_depth), GaussianScores()
        self.certainty, self.risk = Certainty(), RiskCoverage()
        self.errors, self.unknown = ScoreHistogram(bins), Detection(bins)
        self.by_square, self.by_relative = Sparsification(root=True), Sparsification()
        self.parts: dict[str, Additive] = {
            "distances": self.distances,
            "scores": self.scores,
            "certainty": self.certainty,
            "risk": self.risk,
            "by_square": self.by_square,
            "by_relative": self.by_relative,
            "errors": self.errors,
            "unknown": self.unknown.region,
            "unknown_twin": self.unknown.twins,
        }

    def update(
        self,
        mean: np.ndarray,
        variance: np.ndarray,
        truth: np.ndarray,
        objects: RoadObjects | None = None,
    ) -> None:
        """Add an image: metres, m², metres, (H,W) each."""
        same_shape(mean=mean, variance=variance, truth=truth)
        if (variance < 0).any():
            raise ValueError(
                f"Expected `variance` ≥ 0, but got {np.nanmin(variance):.4g}: is it log s²?"
            )
        std = np.sqrt(variance, dtype=np.float32)
        there = is_estimate(mean, variance)
        if objects is not None:
            lost = np.where(objects.unknown, np.float32(0), np.float32(np.inf))
            self.unknown.update(np.where(there, std, lost), objects)
        valid = np.isfinite(truth)
        y, mu = truth[valid], np.where(there, mean, np.float32(np.nan))[valid]
        limit = self.distances.max_depth
        off = residuals(mu, y, limit)
        self.distances.add(off)
        self.scores.update(mu, variance[valid], y, limit)
        given = Residuals(*(values[off.usable] for values in off))
        missing = Residuals(*(values[~off.usable] for values in off))
        self._rank(std[valid][off.usable], given, missing)

    def _rank(self, std: np.ndarray, off: Residuals, missing: Residuals) -> None:
        """Everything that orders an image's pixels (n,) by their deviation."""
        order, wrong = ascending(std), off.ratio >= DELTA
        count = len(missing.usable)
        self.certainty.update(std, ~wrong, order.median, count)
        self.errors.update(order, wrong)
        add_missing(self.errors, count)
        self.risk.update(order, order.cumulative(wrong), count)
        squares = order.cumulative(off.distance**2)
        largest_last = _ascending(off.distance) ** 2
        self.by_square.update(order, squares, largest_last, missing.distance**2)
        relative = order.cumulative(off.relative)
        self.by_relative.update(order, relative, _ascending(off.relative), missing.relative)

    def compute(self) -> dict[str, float]:
        """`rmse` (m), `abs_rel`, `delta1`…`delta3`, `depth_coverage` (pixels with an estimate);
        with the prefix `depth.`: `nll`, `coverage50`, `coverage90` and `coverage95` of central
        intervals, `error_auroc` and `error_auroc_bound` (errors: ratios ≥ 1.25), `aurc`, `ause`
        (RMSE) and `ause_abs_rel`, each with `_random`, `Certainty`'s and `Detection`'s."""
        if not self.distances.sums[0]:
            return {}
        distances, gauss = self.distances.compute(), self.scores.compute()
        square, relative = self.by_square.compute(), self.by_relative.compute()
        ranking = auroc(self.errors.bins())
        coverage = np.asarray(gauss["coverage"])
        uncertainty = {
            "nll": gauss["nll"],
            **{f"coverage{100 * p:.0f}": coverage[COVERAGES.index(p)] for p in _PRINTED},
            "error_auroc": ranking.value,
            "error_auroc_bound": ranking.bound,
            **self.risk.compute(),
            "ause": square["ause"],
            "ause_random": square["random"],
            "ause_abs_rel": relative["ause"],
            "ause_abs_rel_random": relative["random"],
            **self.certainty.compute(),
            **self.unknown.compute(),
        }
        figures = {
            **{name: value for name, value in distances.items() if name != "coverage"},
            "depth_coverage": distances["coverage"],
            **{f"depth.{name}": value for name, value in uncertainty.items()},
        }
        return {name: float(value) for name, value in figures.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """With the prefix `depth.`: the reliability diagram's `reliability_nominal` and
        `reliability_coverage` (11,); over `sparsification_fraction` (100,), `sparsification_rmse`,
        `sparsification_abs_rel` and each with `_oracle`, 1 at 0. Empty without a pixel."""
        if not self.distances.sums[0]:
            return {}
        square, relative = self.by_square.compute(), self.by_relative.compute()
        curves = {
            "reliability_nominal": COVERAGES,
            "reliability_coverage": self.scores.compute()["coverage"],
            "sparsification_fraction": FRACTIONS.copy(),
            "sparsification_rmse": square["curve"],
            "sparsification_rmse_oracle": square["oracle"],
            "sparsification_abs_rel": relative["curve"],
            "sparsification_abs_rel_oracle": relative["oracle"],
        }
        return {f"depth.{name}": np.asarray(curve) for name, curve in curves.items()}


def _ascending(values: np.ndarray) -> np.ndarray:
    """Sorted as float32, which is twice as fast; float64 again."""
    return np.sort(values.astype(np.float32)).astype(np.float64)


class ClassStudy:
    """Streaming figures of class probabilities; `StudyMetrics` says how to use them.

    Args:
        num_classes: C.
        bins: of each pooled ranking.
    """

    def __init__(self, num_classes: int, bins: int):
        self.confusion, self.calibration = Confusion(num_classes), Calibration()
        self.scores, self.certainty = ClassScores(), Certainty()
        self.errors, self.unknown = ScoreHistogram(bins), Detection(bins)
        self.risk = RiskCoverage()
        self.by_error, self.by_brier = Sparsification(), Sparsification()
        self.parts: dict[str, Additive] = {
            "confusion": self.confusion,
            "calibration": self.calibration,
            "scores": self.scores,
            "certainty": self.certainty,
            "risk": self.risk,
            "by_error": self.by_error,
            "by_brier": self.by_brier,
            "errors": self.errors,
            "unknown": self.unknown.region,
            "unknown_twin": self.unknown.twins,
        }

    def update(
        self, probabilities: np.ndarray, truth: np.ndarray, objects: RoadObjects | None = None
    ) -> None:
        """Add an image: (C,H,W), (H,W)."""
        count = len(self.confusion.matrix)
        if len(probabilities) != count:
            raise ValueError(
                f"Expected `probabilities` of {count} classes, but got {probabilities.shape}."
            )
        pixels = class_pixels(probabilities, truth)
        if objects is not None:
            self.unknown.update(pixels.entropy, objects)
        self.confusion.update(pixels.labels, truth)
        known = truth < count
        right = (pixels.labels == truth)[known]
        self.calibration.update(pixels.confidence[known], right)
        brier = pixels.brier[known]
        self.scores.update(pixels.nll[known], brier)
        self._rank(pixels.entropy[known], right, brier)

    def _rank(self, entropy: np.ndarray, right: np.ndarray, brier: np.ndarray) -> None:
        """Everything that orders an image's pixels (n,) by their entropy."""
        order, wrong = ascending(entropy), ~right
        self.certainty.update(entropy, right, order.median)
        self.errors.update(order, wrong)
        mistakes = order.cumulative(wrong)
        self.risk.update(order, mistakes)
        last = np.zeros(len(order), bool)
        last[int(np.count_nonzero(right)) :] = True
        self.by_error.update(order, mistakes, last)
        self.by_brier.update(order, order.cumulative(brier), np.sort(brier))

    def compute(self) -> dict[str, float]:
        """`miou`, `miou_official`, `iou_K` of class K, NaN where it occurs nowhere, `accuracy`,
        `ece`, `ece_gap` (positive: over-confident); with the prefix `seg.`: `nll`, `brier`,
        `error_auroc` and `error_auroc_bound`, `aurc`, `ause` (0/1 error) and `ause_brier`, each
        with `_random`, `Certainty`'s and `Detection`'s."""
        classes, calibration = self.confusion.compute(), self.calibration.compute()
        if not self.scores.sums[0]:
            return {}
        error, brier = self.by_error.compute(), self.by_brier.compute()
        ranking = auroc(self.errors.bins())
        uncertainty = {
            **self.scores.compute(),
            "error_auroc": ranking.value,
            "error_auroc_bound": ranking.bound,
            **self.risk.compute(),
            "ause": error["ause"],
            "ause_random": error["random"],
            "ause_brier": brier["ause"],
            "ause_brier_random": brier["random"],
            **self.certainty.compute(),
            **self.unknown.compute(),
        }
        figures = {
            "miou": classes["miou"],
            "miou_official": classes["miou_official"],
            **{f"iou_{k}": iou for k, iou in enumerate(np.asarray(classes["iou"]))},
            "accuracy": classes["accuracy"],
            "ece": calibration["ece"],
            "ece_gap": calibration["gap"],
            **{f"seg.{name}": value for name, value in uncertainty.items()},
        }
        return {name: float(value) for name, value in figures.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """With the prefix `seg.`: `iou` (C,), the reliability diagram's `reliability_confidence`,
        `_accuracy`, `_count` (15,); over `sparsification_fraction` (100,), `sparsification_error`,
        `sparsification_brier` and each with `_oracle`, 1 at 0. Empty without a pixel."""
        if not self.scores.sums[0]:
            return {}
        bins = self.calibration.compute()
        error, brier = self.by_error.compute(), self.by_brier.compute()
        curves = {
            "iou": self.confusion.compute()["iou"],
            "reliability_confidence": bins["bin_confidence"],
            "reliability_accuracy": bins["bin_accuracy"],
            "reliability_count": bins["bin_count"],
            "sparsification_fraction": FRACTIONS.copy(),
            "sparsification_error": error["curve"],
            "sparsification_error_oracle": error["oracle"],
            "sparsification_brier": brier["curve"],
            "sparsification_brier_oracle": brier["oracle"],
        }
        return {f"seg.{name}": np.asarray(curve) for name, curve in curves.items()}
