"""Metrics of one task and its uncertainty: classes (`ClassMetrics`), depth (`DepthMetrics`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from emu_core.metrics import ranking
from emu_core.metrics.accumulator import Accumulator, same_shape
from emu_core.metrics.certainty import Certainty
from emu_core.metrics.classes import CalibrationError, Confusion
from emu_core.metrics.depth import DepthErrors, is_estimate, residuals
from emu_core.metrics.proper import COVERAGES, ClassScores, GaussianScores, class_pixels
from emu_core.metrics.road_objects import RoadObjects
from emu_core.metrics.sparsification import FRACTIONS, RiskCoverage, Sparsification

_PRINTED = (0.5, 0.9, 0.95)
"""Nominal shares of the intervals in `compute`; `arrays` has all of `COVERAGES`."""


class TaskMetrics:
    """The metrics of an uncertainty, which both tasks have; attributes are the accumulators."""

    PREFIX: ClassVar[str]
    RANKED: ClassVar[dict[str, str]]
    """Histogram of errors → name of its AUROC; `errors` is also that of `risk` and `certainty`."""
    SPARSIFICATIONS: ClassVar[dict[str, tuple[str, str]]]
    """Accumulator → names of its AUSE and of its error."""

    def __init__(self, bins: int):
        self.images = 0  # with or without pixels that have a truth
        self.certainty, self.risk = Certainty(), RiskCoverage()
        self.errors = ranking.ScoreHistogram(bins)
        self.unknown, self.unknown_twin = (ranking.ScoreHistogram(bins) for _ in range(2))

    @property
    def parts(self) -> dict[str, Accumulator]:
        """The accumulators by name."""
        return {name: x for name, x in vars(self).items() if isinstance(x, Accumulator)}

    def _update_objects(self, score: np.ndarray, objects: RoadObjects) -> None:
        """Rank unknown objects (H,W) against the road, and against their twins."""
        same_shape(score=score, **objects._asdict())
        on_object = objects.unknown | objects.known
        for histogram, where in ((self.unknown, objects.region), (self.unknown_twin, on_object)):
            histogram.update(ranking.sort_scores(score[where]), objects.unknown[where])

    def _rank(
        self, score: np.ndarray, wrong: np.ndarray, missing: int = 0
    ) -> tuple[ranking.ScoreOrder, np.ndarray]:
        """Rank the errors of an image (n,); returns the order and the sums of the errors in it."""
        order = ranking.sort_scores(score)
        self.certainty.update(score, ~wrong, order.median, missing)
        self.errors.update(order, wrong)
        ranking.add_missing(self.errors, missing)
        mistakes = order.cumulative(wrong)
        self.risk.update(order, mistakes, missing)
        return order, mistakes

    def _uncertainty(self, scores: Mapping[str, float]) -> dict[str, float]:
        metrics = dict(scores)
        for part, name in self.RANKED.items():
            metrics[name], metrics[f"{name}_bound"] = ranking.auroc(getattr(self, part).bins())
        metrics |= self.risk.compute()
        for part, (name, _) in self.SPARSIFICATIONS.items():
            areas = getattr(self, part).compute()
            metrics |= {name: areas["ause"], f"{name}_random": areas["random"]}
        metrics |= {**self.certainty.compute(), **self._detection()}
        return {f"{self.PREFIX}.{name}": float(value) for name, value in metrics.items()}

    def _detection(self) -> dict[str, float]:
        bins = self.unknown.bins()
        unknown, rest = int(bins.positives.sum()), int(bins.negatives.sum())
        if not unknown:
            return {}
        metrics = {"unknown_ap_random": unknown / (unknown + rest)}
        for name, metric in (
            ("unknown_auroc", ranking.auroc(bins)),
            ("unknown_ap", ranking.average_precision(bins)),
            ("unknown_fpr95", ranking.false_positive_rate(bins)),
            ("unknown_twin_auroc", ranking.auroc(self.unknown_twin.bins())),
        ):
            metrics[name], metrics[f"{name}_bound"] = metric
        return metrics

    def _curves(self, reliability: Mapping[str, object]) -> dict[str, np.ndarray]:
        curves = {**reliability, "sparsification_fraction": FRACTIONS.copy()}
        for part, (_, error) in self.SPARSIFICATIONS.items():
            areas = getattr(self, part).compute()
            curves[f"sparsification_{error}"] = areas["curve"]
            curves[f"sparsification_{error}_oracle"] = areas["oracle"]
        return {f"{self.PREFIX}.{name}": np.asarray(curve) for name, curve in curves.items()}


class ClassMetrics(TaskMetrics):
    """Streaming metrics of class probabilities and of their uncertainty; see `StudyMetrics`."""

    PREFIX = "seg"
    RANKED: ClassVar = {"errors": "error_auroc"}
    SPARSIFICATIONS: ClassVar = {
        "by_error": ("ause", "error"),
        "by_brier": ("ause_brier", "brier"),
    }

    def __init__(self, num_classes: int, bins: int):
        self.confusion, self.calibration = Confusion(num_classes), CalibrationError()
        self.scores = ClassScores()
        self.by_error, self.by_brier = Sparsification(), Sparsification()
        super().__init__(bins)

    def update(
        self,
        probabilities: np.ndarray,
        truth: np.ndarray,
        objects: RoadObjects | None = None,
        score: np.ndarray | None = None,
    ) -> None:
        """Add an image, see `StudyMetrics.update_classes`."""
        count = len(self.confusion.matrix)
        if len(probabilities) != count:
            raise ValueError(
                f"Expected `probabilities` of {count} classes, but got {probabilities.shape}."
            )
        pixels = class_pixels(probabilities, truth)
        score = pixels.entropy if score is None else score
        same_shape(score=score, truth=truth)
        self.images += 1
        if objects is not None:
            self._update_objects(score, objects)
        self.confusion.update(pixels.labels, truth)
        known = truth < count
        right, brier = (pixels.labels == truth)[known], pixels.brier[known]
        self.calibration.update(pixels.confidence[known], right)
        self.scores.update(pixels.nll[known], brier)
        order, mistakes = self._rank(score[known], ~right)
        ascending = np.arange(len(order)) >= np.count_nonzero(right)
        self.by_error.update(order, mistakes, ascending)
        self.by_brier.update(order, order.cumulative(brier), np.sort(brier))

    def compute(self) -> dict[str, float]:
        """Compute the metrics.

        Returns:
            `miou`, `miou_official`, `iou_K` of class K (NaN where it does not occur), `accuracy`,
            `ece`, `ece_gap` (positive: over-confident). With the prefix `seg.`: `nll`, `brier`,
            `error_auroc` and `error_auroc_bound`; `aurc`, `ause` (0/1 error) and `ause_brier`,
            each with `_random`; the metrics of `Certainty`. With unknown objects: `unknown_auroc`,
            `unknown_ap`, `unknown_fpr95` (against the road of both images of the pairs) and
            `unknown_twin_auroc` (against the twins), each with `_bound`; `unknown_ap_random`, the
            share of positives. All are NaN if no pixel of the images has a class.
        """
        classes, calibration = self.confusion.compute(), self.calibration.compute()
        if not self.images and not self.scores.sums[0]:
            return {}
        metrics = {
            "miou": classes["miou"],
            "miou_official": classes["miou_official"],
            **{f"iou_{k}": iou for k, iou in enumerate(np.asarray(classes["iou"]))},
            "accuracy": classes["accuracy"],
            "ece": calibration["ece"],
            "ece_gap": calibration["gap"],
            **self._uncertainty(self.scores.compute()),
        }
        return {name: float(value) for name, value in metrics.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Compute the curves, with the prefix `seg.`; empty without a pixel.

        Returns:
            `iou` (C,); the reliability diagram `reliability_confidence`, `_accuracy`, `_count`
            (15,); over `sparsification_fraction` (100,) the curves `sparsification_error` and
            `sparsification_brier`, each with `_oracle`, 1 at 0.
        """
        if not self.scores.sums[0]:
            return {}
        bins, kinds = self.calibration.compute(), ("confidence", "accuracy", "count")
        reliability = {f"reliability_{kind}": bins[f"bin_{kind}"] for kind in kinds}
        return self._curves({"iou": self.confusion.compute()["iou"], **reliability})


class DepthMetrics(TaskMetrics):
    """Streaming metrics of Gaussian depths and their standard deviation; see `StudyMetrics`.

    Errors in metres are ranked by the standard deviation, ratio errors by the relative deviation,
    which is the standard deviation divided by the estimate. `Certainty` and risk use the latter.
    The ranking of ratio errors by the standard deviation is there to compare with older results.

    A pixel with a truth but without an estimate (`is_estimate`) is an undetected error, and in the
    pooled ranking also a false alarm. On an unknown object it counts as undetected, on the road as
    a false alarm. So a missing estimate improves no metric, with two exceptions: it may move the
    thresholds of `Certainty`, and it may raise an average precision that is below the share of
    positives up to that share, because precision counts all ties at once.
    """

    PREFIX = "depth"
    RANKED: ClassVar = {
        "errors": "ratio_error_auroc",
        "errors_by_std": "ratio_error_auroc_by_std",
        "metre_errors": "metre_error_auroc",
    }
    SPARSIFICATIONS: ClassVar = {
        "by_square": ("ause", "rmse"),
        "by_relative": ("ause_abs_rel", "abs_rel"),
    }

    def __init__(self, max_depth: float, bins: int):
        self.distances, self.scores = DepthErrors(max_depth), GaussianScores()
        self.by_square, self.by_relative = Sparsification(root=True), Sparsification()
        self.errors_by_std, self.metre_errors = (ranking.ScoreHistogram(bins) for _ in range(2))
        super().__init__(bins)

    def update(
        self,
        mean: np.ndarray,
        variance: np.ndarray,
        truth: np.ndarray,
        objects: RoadObjects | None = None,
    ) -> None:
        """Add an image, see `StudyMetrics.update_depth`."""
        same_shape(mean=mean, variance=variance, truth=truth)
        if (variance < 0).any():
            raise ValueError(
                f"Expected `variance` ≥ 0, but got {np.nanmin(variance):.4g}: is it log s²?"
            )
        self.images += 1
        std = np.sqrt(variance, dtype=np.float32)
        there = is_estimate(mean, variance)
        if objects is not None:
            lost = np.where(objects.unknown, np.float32(0), np.float32(np.inf))
            self._update_objects(np.where(there, std, lost), objects)
        valid = np.isfinite(truth)
        y, mu = truth[valid], np.where(there, mean, np.float32(np.nan))[valid]
        limit = self.distances.max_depth
        off = residuals(mu, y, limit)
        self.distances.add(off)
        self.scores.update(mu, variance[valid], y, limit)
        given, missing = off.where(off.usable), off.where(~off.usable)
        deviation = std[valid][off.usable]
        order, _ = self._rank(
            deviation / mu[off.usable], given.wrong_ratio, missing=len(missing.usable)
        )
        relative = order.cumulative(given.relative)
        self.by_relative.update(order, relative, _sorted(given.relative), missing.relative)
        order = ranking.sort_scores(deviation)
        for histogram, wrong in (
            (self.errors_by_std, given.wrong_ratio),
            (self.metre_errors, given.wrong_metres),
        ):
            histogram.update(order, wrong)
            ranking.add_missing(histogram, len(missing.usable))
        squares, ascending = order.cumulative(given.distance**2), _sorted(given.distance) ** 2
        self.by_square.update(order, squares, ascending, missing.distance**2)

    def compute(self) -> dict[str, float]:
        """Compute the metrics.

        Returns:
            `rmse` (m), `abs_rel`, `delta1`…`delta3`, `depth_coverage` (share of pixels with an
            estimate). With the prefix `depth.`: `nll`; `coverage50`, `coverage90` and `coverage95`
            of central intervals; `ratio_error_auroc` (errors: ratios ≥ 1.25) and
            `metre_error_auroc` (errors: ≥ 1 m), each with `_bound`; `ratio_error_auroc_given`,
            only over pixels with an estimate; `ratio_error_auroc_by_std`; `aurc` (of ratio
            errors), `ause` (RMSE) and `ause_abs_rel`, each with `_random`; metrics of `Certainty`;
            metrics of unknown objects as in `ClassMetrics.compute`.
            All are NaN if no pixel of the images has a depth.
        """
        if not self.images and not self.distances.sums[0]:
            return {}
        distances, gauss = self.distances.compute(), self.scores.compute()
        distances["depth_coverage"] = distances.pop("coverage")
        shares = np.asarray(gauss["coverage"])
        coverage = {f"coverage{100 * p:.0f}": shares[COVERAGES.index(p)] for p in _PRINTED}
        given = ranking.auroc_without(self.errors.bins(), float(self.certainty.missing))
        scores = {"nll": float(gauss["nll"]), "ratio_error_auroc_given": given, **coverage}
        return {**distances, **self._uncertainty(scores)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Compute the curves, with the prefix `depth.`; empty without a pixel.

        Returns:
            The reliability diagram `reliability_nominal` and `reliability_coverage` (11,); over
            `sparsification_fraction` (100,) the curves `sparsification_rmse` and
            `sparsification_abs_rel`, each with `_oracle`, 1 at 0.
        """
        if not self.distances.sums[0]:
            return {}
        coverage = self.scores.compute()["coverage"]
        return self._curves({"reliability_nominal": COVERAGES, "reliability_coverage": coverage})


def _sorted(values: np.ndarray) -> np.ndarray:
    """Sort float64 values as float32, which is twice as fast."""
    return np.sort(values.astype(np.float32)).astype(np.float64)
