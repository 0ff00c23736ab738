"""Accurate or not, certain or not: p(acc|cer), p(unc|inacc), p(inacc|unc) and PAvPU.

Mukhoti and Gal, arXiv 1811.12709; p(inacc|unc) is the comparison's (paper.md §4).
"""

from __future__ import annotations

import numpy as np

from emu_core.metrics.additive import Additive, same_shape


class Certainty(Additive):
    """Counts of accurate × certain pixels, at the mean and at the median of each image.

    Certain means: an uncertainty not above the image's threshold. (Not strictly below it: of a
    saturated network more than half of the entropies are exactly 0, and so is their median.)
    The counts are pooled over images.

    A pixel without an answer counts as certain and wrong, but in p(inacc|unc) as uncertain and
    right. So, at a given threshold, abstaining improves no share. The threshold is that of the
    pixels with an answer: what abstains may move it, and with it the shares of all others.
    """

    SUMS = ("counts", "by_chance", "missing")

    def __init__(self) -> None:
        self.counts = np.zeros((2, 4))
        """Pixels by threshold (mean, median): n_ac, n_au, n_ic, n_iu."""
        self.by_chance = np.zeros((2, 4))
        """What the counts would be if each image's scores were shuffled."""
        self.missing = np.zeros(())
        """Pixels without an answer."""

    def update(
        self, score: np.ndarray, accurate: np.ndarray, median: float, missing: int = 0
    ) -> None:
        """Add an image's pixels.

        Args:
            score: uncertainty ≥ 0, (n,), Inf where it is beyond all bounds.
            accurate: bool (n,).
            median: of the scores, which whoever sorts them knows (`Order.median`).
            missing: further pixels, which have no answer.
        """
        same_shape(score=score, accurate=accurate)
        self.missing += missing
        n = score.size
        if not n:
            return
        finite = score[np.isfinite(score)]
        mean = float(finite.mean(dtype=np.float64)) if finite.size else 0.0
        right = int(np.count_nonzero(accurate))
        for row, threshold in enumerate((mean, median)):
            certain = score <= np.float32(threshold)
            sure = int(np.count_nonzero(certain))
            both = int(np.count_nonzero(certain & accurate))
            chance = sure * right / n
            self.counts[row] += _table(both, sure, right, n)
            self.by_chance[row] += _table(chance, sure, right, n)

    def compute(self) -> dict[str, float]:
        """`p_acc_cer`, `p_unc_inacc`, `p_inacc_unc`, `pavpu` at the mean threshold, the same with
        `_median`, and each with `_random`, what random scores would get; NaN where nothing was
        certain, uncertain or wrong. `accuracy` of all pixels."""
        figures = {}
        for row, suffix in enumerate(("", "_median")):
            for table, chance in ((self.counts, ""), (self.by_chance, "_random")):
                for name, value in _shares(table[row], float(self.missing)).items():
                    figures[name + suffix + chance] = value
        ac, au, ic, iu = self.counts[0]
        figures["accuracy"] = _ratio(ac + au, ac + au + ic + iu + float(self.missing))
        return figures


def _table(both: float, certain: int, accurate: int, n: int) -> list[float]:
    return [both, accurate - both, certain - both, n - certain - accurate + both]


def _shares(table: np.ndarray, missing: float) -> dict[str, float]:
    ac, au, ic, iu = table
    return {
        "p_acc_cer": _ratio(ac, ac + ic + missing),
        "p_unc_inacc": _ratio(iu, ic + iu + missing),
        "p_inacc_unc": _ratio(iu, iu + au + missing),
        "pavpu": _ratio(ac + iu, ac + au + ic + iu + missing),
    }


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
