"""Metrics of predicted classes: IoU and accuracy from a confusion matrix; calibration error."""

from __future__ import annotations

import numpy as np

from emu_core.metrics.accumulator import Accumulator, same_shape


class Confusion(Accumulator):
    """Confusion matrix of C ≥ 2 classes; pixels with a true id that is not a class are ignored."""

    SUMS = ("matrix", "unnamed")

    def __init__(self, num_classes: int):
        if num_classes < 2:
            raise ValueError(f"Expected argument `num_classes` to be ≥ 2, but got {num_classes}.")
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.unnamed = np.zeros(num_classes, np.int64)
        """Pixels of each true class (C,) with a predicted id that is not a class."""

    def update(self, labels: np.ndarray, truth: np.ndarray) -> None:
        """Add an image: predicted and true ids, uint8 (H,W).

        A predicted id that is not a class counts as an error of the true class.
        """
        same_shape(labels=labels, truth=truth)
        count = len(self.matrix)
        valid = truth < count
        t, p = truth[valid].astype(np.int64), labels[valid].astype(np.int64)
        named = p < count
        pairs = np.bincount(t[named] * count + p[named], minlength=count * count)
        self.matrix += pairs.reshape(count, count)
        self.unnamed += np.bincount(t[~named], minlength=count)

    def compute(self) -> dict[str, np.ndarray | float]:
        """Compute the metrics (Cordts et al., CVPR 2016).

        Returns:
            `iou` (C,): NaN for a class that is neither in the truth nor predicted, 0 for one that
            is only predicted. `miou`: mean over the classes of the truth. `miou_official`: mean
            over all classes that are not NaN, as in Cityscapes' own evaluation and torchmetrics;
            on a short drive one stray pixel of an absent class costs 1/C. `present`: bool (C,),
            classes of the truth. `support` (C,): pixels of the truth. `accuracy`.
        """
        hit = np.diag(self.matrix)
        truth = self.matrix.sum(1) + self.unnamed
        union = truth + self.matrix.sum(0) - hit
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(union > 0, hit / union, np.nan)
        present, total = truth > 0, truth.sum()
        return {
            "iou": iou,
            "present": present,
            "support": truth,
            "miou": float(iou[present].mean()) if total else float("nan"),
            "miou_official": float(iou[union > 0].mean()) if total else float("nan"),
            "accuracy": float(hit.sum() / total) if total else float("nan"),
        }


class CalibrationError(Accumulator):
    """Expected calibration error over bins of equal width (Guo et al., ICML 2017, eq. 3)."""

    SUMS = ("count", "hits", "confidence")

    def __init__(self, bins: int = 15):
        self.count, self.hits = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
        self.confidence = np.zeros(bins)

    def update(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Add pixels: confidence 0…1 and whether the class is correct, bool, of one shape."""
        same_shape(confidence=confidence, correct=correct)
        bins, flat, right = len(self.count), confidence.ravel().astype(np.float64), correct.ravel()
        index = np.clip(np.ceil(flat * bins).astype(np.int64) - 1, 0, bins - 1)
        self.count += np.bincount(index, minlength=bins)
        self.hits += np.bincount(index[right], minlength=bins)
        self.confidence += np.bincount(index, flat, minlength=bins)

    def compute(self) -> dict[str, float | np.ndarray]:
        """Compute `ece`, and `gap`, the same with its sign (positive: over-confident).

        The reliability diagram is `bin_confidence`, `bin_accuracy` (NaN in empty bins) and
        `bin_count`, (bins,) each. Without a pixel, `ece` and `gap` are NaN.
        """
        with np.errstate(invalid="ignore"):  # 0/0 is NaN: an empty bin, or no pixel at all
            accuracy = self.hits / self.count
            confidence = self.confidence / self.count
            weight = self.count / self.count.sum()
        difference = np.where(self.count > 0, confidence - accuracy, 0.0)
        return {
            "ece": float(np.sum(weight * np.abs(difference))),
            "gap": float(np.sum(weight * difference)),
            "bin_confidence": confidence,
            "bin_accuracy": accuracy,
            "bin_count": self.count.copy(),
        }
