"""Confusion matrix of classes: IoU, mIoU and accuracy."""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import Additive, same_shape


class Confusion(Additive):
    """Confusion matrix of classes; ignores pixels whose truth is no class, e.g. `IGNORE`.

    Args:
        num_classes: C ≥ 2.
    """

    SUMS = ("matrix", "unnamed")

    def __init__(self, num_classes: int):
        if num_classes < 2:
            raise ValueError(f"Expected argument `num_classes` to be ≥ 2, but got {num_classes}.")
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.unnamed = np.zeros(num_classes, np.int64)
        """Pixels of each true class (C,) whose prediction is no class."""

    def update(self, labels: np.ndarray, truth: np.ndarray) -> None:
        """Add an image: predicted and true ids uint8 (H,W). A prediction that is no class counts
        as wrong for its true class."""
        same_shape(labels=labels, truth=truth)
        count = len(self.matrix)
        valid = truth < count
        t, p = truth[valid].astype(np.int64), labels[valid].astype(np.int64)
        named = p < count
        pairs = np.bincount(t[named] * count + p[named], minlength=count * count)
        self.matrix += pairs.reshape(count, count)
        self.unnamed += np.bincount(t[~named], minlength=count)

    def compute(self) -> dict[str, np.ndarray | float]:
        """`iou` (C,) with NaN where a class occurs in neither truth nor prediction, and 0 where
        it is only predicted; `miou` over the classes of the truth (`present`, bool (C,));
        `miou_official` over all other than NaN, as in Cityscapes' own evaluation and torchmetrics:
        the same wherever no class is only predicted, but on a short drive one stray pixel of a
        class that does not occur costs 1/C; `support` (C,) pixels of truth; `accuracy`."""
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


class Calibration(Additive):
    """Expected calibration error over equal-width bins of confidence (Naeini et al., 2015).

    Args:
        bins: how many bins divide 0…1.
    """

    SUMS = ("count", "hits", "confidence")

    def __init__(self, bins: int = 15):
        self.edges = np.linspace(0, 1, bins + 1)
        self.count = np.zeros(bins, np.int64)
        self.hits = np.zeros(bins, np.int64)
        self.confidence = np.zeros(bins)

    def update(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Add pixels: confidence 0…1 and whether the class was right, of one shape."""
        same_shape(confidence=confidence, correct=correct)
        flat, right = confidence.ravel().astype(np.float64), correct.ravel()
        index = np.clip(np.ceil(flat * len(self.count)).astype(np.int64) - 1, 0, None)
        index = np.minimum(index, len(self.count) - 1)
        self.count += np.bincount(index, minlength=len(self.count))
        self.hits += np.bincount(index[right], minlength=len(self.count))
        self.confidence += np.bincount(index, flat, minlength=len(self.count))

    def compute(self) -> dict[str, float | np.ndarray]:
        """`ece`, its signed form `gap` (positive: over-confident), and the reliability curve:
        `bin_confidence` and `bin_accuracy` (NaN where a bin is empty) with `bin_count`."""
        with np.errstate(invalid="ignore", divide="ignore"):
            accuracy = self.hits / self.count
            confidence = self.confidence / self.count
        weight = self.count / max(self.count.sum(), 1)
        difference = np.where(self.count > 0, confidence - accuracy, 0.0)
        return {
            "ece": float(np.sum(weight * np.abs(difference))),
            "gap": float(np.sum(weight * difference)),
            "bin_confidence": confidence,
            "bin_accuracy": accuracy,
            "bin_count": self.count.copy(),
        }
