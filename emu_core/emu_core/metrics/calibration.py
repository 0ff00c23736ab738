"""Whether confidences are the frequencies that they claim to be."""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import Additive, same_shape


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
