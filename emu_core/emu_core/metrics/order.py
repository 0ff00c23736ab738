"""Pixels in ascending order of a score: the one sort of an image that its rankings share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Order:
    """Where the pixels of an image stand by a score; ties keep no order of their own.

    Args:
        codes: the scores' `rank_codes`, ascending, uint32 (n,).
        index: which pixel stands there, intp (n,).
    """

    codes: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def ties(self) -> np.ndarray:
        """First place of each distinct score, then n: intp (distinct scores + 1,)."""
        first = np.flatnonzero(self.codes[1:] != self.codes[:-1]) + 1
        start = [0] if len(self.codes) else []
        return np.concatenate([start, first, [len(self.codes)]]).astype(np.intp)

    @cached_property
    def median(self) -> float:
        """The scores' median; NaN without a pixel."""
        if not len(self.codes):
            return float("nan")
        middle = self.codes[[(len(self.codes) - 1) // 2, len(self.codes) // 2]]
        return float(middle.view(np.float32).astype(np.float64).mean())

    def cumulative(self, error: np.ndarray) -> np.ndarray:
        """Error of the k lowest scores together, k = 0…n: float64 (n + 1,)."""
        total = np.zeros(len(self.codes) + 1)
        np.cumsum(error.ravel()[self.index], out=total[1:])
        return total


def ascending(score: np.ndarray) -> Order:
    """Sort pixels by non-negative scores of any shape; NaN stands last, with +Inf."""
    # Code and place in one integer: numpy sorts these twice as fast as it finds an argsort.
    keys = rank_codes(score).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    codes = (keys >> np.uint64(32)).astype(np.uint32)
    return Order(codes, (keys & np.uint64(0xFFFFFFFF)).astype(np.intp))


def rank_codes(score: np.ndarray) -> np.ndarray:
    """Integers, uint32 (n,), in the order of non-negative float32 scores of any shape.

    They are the scores' own float32 codes. Negative scores rank as 0, NaN as +Inf.
    """
    flat = np.ascontiguousarray(score.ravel(), dtype=np.float32)
    flat = np.where(np.isnan(flat), np.float32(np.inf), np.maximum(flat, np.float32(0)))
    # Adding +0 turns −0 into 0: the code of −0 would rank above every number.
    return (flat + np.float32(0)).view(np.uint32)
