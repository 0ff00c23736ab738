"""Accurate or inaccurate, certain or uncertain: p(acc|cer), p(unc|inacc), p(inacc|unc), PAvPU.

Sources: Mukhoti and Gal, arXiv 1811.12709; p(inacc|unc) is from arXiv 2405.17097 (docs/method.md,
Metrics).
"""

from __future__ import annotations

import numpy as np

from emu_core.metrics.accumulator import Accumulator, same_shape


class Certainty(Accumulator):
    """Counts of accurate × certain pixels with two thresholds, the mean and the median per image.

    A pixel is certain if its uncertainty is not above the threshold of its image. (With "below",
    a saturated network would have no certain pixel: more than half of its entropies are exactly
    0, and so is their median.) Counts are pooled over images.

    A pixel without a prediction counts as certain and inaccurate, but in p(inacc|unc) as uncertain
    and accurate. So a missing prediction never improves a metric at a given threshold. The
    threshold itself is computed without these pixels, so it may change.
    """

    SUMS = ("counts", "by_chance", "missing")

    def __init__(self) -> None:
        # Pixels by threshold (mean, median): n_ac, n_au, n_ic, n_iu; and what their expected
        # numbers were if the scores of each image were shuffled.
        self.counts, self.by_chance = np.zeros((2, 4)), np.zeros((2, 4))
        self.missing = np.zeros(())  # pixels without a prediction

    def update(
        self, score: np.ndarray, accurate: np.ndarray, median: float, missing: int = 0
    ) -> None:
        """Add the pixels of an image.

        Args:
            score: uncertainty ≥ 0, (n,), may be Inf.
            accurate: bool (n,).
            median: median of the scores (`ScoreOrder.median`).
            missing: number of further pixels, without a prediction.
        """
        same_shape(score=score, accurate=accurate)
        self.missing += missing
        n = score.size
        if not n:
            return
        finite = score[np.isfinite(score)]
        mean = float(finite.mean(dtype=np.float64)) if finite.size else 0.0
        n_accurate = int(np.count_nonzero(accurate))
        for row, threshold in enumerate((mean, median)):
            certain = score <= np.float32(threshold)
            n_certain, both = (int(np.count_nonzero(x)) for x in (certain, certain & accurate))
            self.counts[row] += _table(both, n_certain, n_accurate, n)
            self.by_chance[row] += _table(n_certain * n_accurate / n, n_certain, n_accurate, n)

    def compute(self) -> dict[str, float]:
        """Compute the metrics.

        Returns:
            `p_acc_cer`, `p_unc_inacc`, `p_inacc_unc` and `pavpu` at the mean threshold; the same
            with `_median`; each with `_random`, the value of random scores; `accuracy` of all
            pixels. NaN where no pixel is certain, uncertain or inaccurate.
        """
        metrics = {}
        missing = float(self.missing)
        for row, suffix in enumerate(("", "_median")):
            for table, chance in ((self.counts, ""), (self.by_chance, "_random")):
                for name, value in _shares(table[row], missing).items():
                    metrics[name + suffix + chance] = value
        accurate, total = self.counts[0, :2].sum(), self.counts[0].sum() + missing
        return {**metrics, "accuracy": float(accurate / total) if total else float("nan")}


def _table(both: float, certain: int, accurate: int, n: int) -> list[float]:
    return [both, accurate - both, certain - both, n - certain - accurate + both]


def _shares(table: np.ndarray, missing: float) -> dict[str, float]:
    ac, au, ic, iu = table
    shares = {
        "p_acc_cer": (ac, ac + ic + missing),
        "p_unc_inacc": (iu, ic + iu + missing),
        "p_inacc_unc": (iu, iu + au + missing),
        "pavpu": (ac + iu, ac + au + ic + iu + missing),
    }
    return {n: float(x / total) if total else float("nan") for n, (x, total) in shares.items()}
