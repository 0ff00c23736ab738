"""The study's figures of classes and of their entropy."""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import Additive
from emu_core.metrics.calibration import Calibration
from emu_core.metrics.certainty import Certainty
from emu_core.metrics.confusion import Confusion
from emu_core.metrics.detection import auroc
from emu_core.metrics.histogram import ScoreHistogram
from emu_core.metrics.order import ascending
from emu_core.metrics.proper import ClassScores, class_pixels
from emu_core.metrics.road_objects import Detection, RoadObjects
from emu_core.metrics.sparsification import FRACTIONS, RiskCoverage, Sparsification


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
