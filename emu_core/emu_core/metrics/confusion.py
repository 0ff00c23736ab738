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
