"""Streaming metrics of both tasks and of their uncertainties, with constant memory; NumPy only.

Every metric is `update(...)` per image, then `compute()`. Definitions: paper.md §4. Depth is
scored on every pixel with valid ground truth, whether or not there is an estimate.
"""

from __future__ import annotations

import numpy as np

RANK_BITS = 20
"""Scores are ranked by the leading bits of their float32 code: relative resolution 2⁻¹²."""


class Confusion:
    """Confusion matrix of classes; ignores pixels whose truth is no class, e.g. `IGNORE`.

    Args:
        num_classes: C ≥ 2.
    """

    def __init__(self, num_classes: int):
        if num_classes < 2:
            raise ValueError(f"Expected argument `num_classes` to be ≥ 2, but got {num_classes}.")
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self._unnamed = np.zeros(num_classes, np.int64)

    def update(self, labels: np.ndarray, truth: np.ndarray) -> None:
        """Add an image: predicted and true ids uint8 (H,W). A prediction that is no class counts
        as wrong for its true class."""
        _same_shape(labels=labels, truth=truth)
        count = len(self.matrix)
        valid = truth < count
        t, p = truth[valid].astype(np.int64), labels[valid].astype(np.int64)
        named = p < count
        pairs = np.bincount(t[named] * count + p[named], minlength=count * count)
        self.matrix += pairs.reshape(count, count)
        self._unnamed += np.bincount(t[~named], minlength=count)

    def compute(self) -> dict[str, np.ndarray | float]:
        """`iou` (C,) with NaN where a class occurs in neither, `miou` over the classes that occur
        in the truth (`present`, bool (C,)), `support` (C,) pixels of truth, and `accuracy`."""
        hit = np.diag(self.matrix)
        truth = self.matrix.sum(1) + self._unnamed
        union = truth + self.matrix.sum(0) - hit
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(union > 0, hit / union, np.nan)
        present = truth > 0
        total = truth.sum()
        return {
            "iou": iou,
            "present": present,
            "support": truth,
            "miou": float(iou[present].mean()) if present.any() else float("nan"),
            "accuracy": float(hit.sum() / total) if total else float("nan"),
        }


class Calibration:
    """Expected calibration error over equal-width bins of confidence (Naeini et al., 2015).

    Args:
        bins: how many bins divide 0…1.
    """

    def __init__(self, bins: int = 15):
        self.edges = np.linspace(0, 1, bins + 1)
        self.count = np.zeros(bins, np.int64)
        self.hits = np.zeros(bins, np.int64)
        self.confidence = np.zeros(bins)

    def update(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Add pixels: confidence 0…1 and whether the class was right, of one shape."""
        _same_shape(confidence=confidence, correct=correct)
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


class ErrorRanking:
    """How well an uncertainty ranks wrong pixels above right ones, pooled over all pixels.

    Scores are counted in a histogram over the leading bits of their float32 code, which orders
    non-negative numbers, +Inf included.
    """

    def __init__(self) -> None:
        self._right = np.zeros(1 << RANK_BITS, np.int64)
        self._wrong = np.zeros(1 << RANK_BITS, np.int64)

    def update(self, score: np.ndarray, wrong: np.ndarray) -> None:
        """Add pixels: non-negative scores (NaN ranks as most uncertain), and whether each is an
        error."""
        _same_shape(score=score, wrong=wrong)
        flat = np.ascontiguousarray(score.ravel(), dtype=np.float32)
        flat = np.where(np.isnan(flat), np.float32(np.inf), np.maximum(flat, np.float32(0)))
        code = flat.view(np.uint32) >> (31 - RANK_BITS)
        mask = wrong.ravel()
        size = 1 << RANK_BITS
        self._wrong += np.bincount(code[mask], minlength=size)
        self._right += np.bincount(code[~mask], minlength=size)

    def compute(self) -> dict[str, float]:
        """`auroc` (ties count one half; NaN without errors or without right pixels) and `bound`,
        how far ties within a bin can have moved it."""
        wrong, right = float(self._wrong.sum()), float(self._right.sum())
        if wrong == 0 or right == 0:
            return {"auroc": float("nan"), "bound": 0.0, "errors": wrong}
        below = np.cumsum(self._right) - self._right
        shared = float(np.sum(self._wrong.astype(np.float64) * self._right))
        won = float(np.sum(self._wrong.astype(np.float64) * below)) + 0.5 * shared
        pairs = wrong * right
        return {"auroc": won / pairs, "bound": 0.5 * shared / pairs, "errors": wrong}


class DepthErrors:
    """Depth errors over every pixel with valid ground truth.

    A missing (NaN, 0 or negative) or infinite estimate is a δ failure, and counts as that end of
    the range, 0 or `max_depth`, which lies farther from the truth. So abstaining improves no
    score of an estimate within the range.

    Args:
        max_depth: the range's far end, metres.
    """

    def __init__(self, max_depth: float):
        self.max_depth = max_depth
        self._sum = dict.fromkeys(("n", "covered", "square", "relative", "d1", "d2", "d3"), 0.0)

    def update(self, depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Add an image: estimate and truth in metres (H,W), the truth NaN where it is invalid.

        Returns:
            Which valid pixels are errors, max(ŷ/y, y/ŷ) ≥ 1.25, bool (number of valid pixels,).
        """
        _same_shape(depth=depth, truth=truth)
        valid = np.isfinite(truth)
        y, estimate = truth[valid].astype(np.float64), depth[valid].astype(np.float64)
        usable = np.isfinite(estimate) & (estimate > 0)
        worst = np.where(y > self.max_depth / 2, 0.0, self.max_depth)
        filled = np.where(usable, estimate, worst)
        with np.errstate(divide="ignore"):
            ratio = np.where(usable, np.maximum(filled / y, y / filled), np.inf)
        total = self._sum
        total["n"] += y.size
        total["covered"] += float(usable.sum())
        total["square"] += float(np.sum((filled - y) ** 2))
        total["relative"] += float(np.sum(np.abs(filled - y) / y))
        for power in (1, 2, 3):
            total[f"d{power}"] += float(np.sum(ratio < 1.25**power))
        return ratio >= 1.25

    def compute(self) -> dict[str, float]:
        """`rmse` (m), `abs_rel`, `delta1`…`delta3`, `coverage`: the share of pixels with a finite
        estimate above 0; all NaN without a pixel."""
        s, n = self._sum, self._sum["n"] or float("nan")
        return {
            "rmse": float(np.sqrt(s["square"] / n)),
            "abs_rel": s["relative"] / n,
            "delta1": s["d1"] / n,
            "delta2": s["d2"] / n,
            "delta3": s["d3"] / n,
            "coverage": s["covered"] / n,
        }


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


def _same_shape(**arrays: np.ndarray) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"Expected arrays of one shape, but got {shapes}.")
