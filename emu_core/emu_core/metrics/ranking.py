"""A quick ranking for robots: fixed bins, 16 MB whatever the scores.

`histogram.ScoreHistogram` is the finer one of the study, whose bins follow the scores.
"""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import Additive, same_shape

RANK_BITS = 20
"""Scores are ranked by the leading bits of their float32 code: relative resolution 2⁻¹²."""


class ErrorRanking(Additive):
    """How well an uncertainty ranks wrong pixels above right ones, pooled over all pixels.

    Scores are counted in a histogram over the leading bits of their float32 code, which orders
    non-negative numbers, +Inf included.
    """

    SUMS = ("right", "wrong")

    def __init__(self) -> None:
        self.right = np.zeros(1 << RANK_BITS, np.int64)
        self.wrong = np.zeros(1 << RANK_BITS, np.int64)

    def update(self, score: np.ndarray, wrong: np.ndarray) -> None:
        """Add pixels: non-negative scores (NaN ranks as most uncertain), and whether each is an
        error."""
        same_shape(score=score, wrong=wrong)
        code = rank_codes(score) >> np.uint32(31 - RANK_BITS)
        mask = wrong.ravel()
        size = 1 << RANK_BITS
        self.wrong += np.bincount(code[mask], minlength=size)
        self.right += np.bincount(code[~mask], minlength=size)

    def compute(self) -> dict[str, float]:
        """`auroc` (ties count one half; NaN without errors or without right pixels) and `bound`,
        how far ties within a bin can have moved it."""
        wrong, right = float(self.wrong.sum()), float(self.right.sum())
        if wrong == 0 or right == 0:
            return {"auroc": float("nan"), "bound": 0.0, "errors": wrong}
        below = np.cumsum(self.right) - self.right
        shared = float(np.sum(self.wrong.astype(np.float64) * self.right))
        won = float(np.sum(self.wrong.astype(np.float64) * below)) + 0.5 * shared
        pairs = wrong * right
        return {"auroc": won / pairs, "bound": 0.5 * shared / pairs, "errors": wrong}


def rank_codes(score: np.ndarray) -> np.ndarray:
    """Integers, uint32 (n,), in the order of non-negative float32 scores of any shape.

    They are the scores' own float32 codes. Negative scores rank as 0, NaN as +Inf.
    """
    flat = np.ascontiguousarray(score.ravel(), dtype=np.float32)
    flat = np.where(np.isnan(flat), np.float32(np.inf), np.maximum(flat, np.float32(0)))
    # Adding +0 turns −0 into 0: the code of −0 would rank above every number.
    return (flat + np.float32(0)).view(np.uint32)
