"""Proper scores and intervals: of class probabilities, and of a Gaussian depth.

Proper means that no other distribution than the true one scores better on average.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from emu_core.metrics.additive import Additive
from emu_core.metrics.depth import is_estimate

SMALLEST = np.finfo(np.float32).tiny
"""Probabilities below this count as this: their NLL is 87."""

MIN_VARIANCE = 1e-4
"""Added to every variance, m², as in `training.losses`, so that the NLL stays finite."""

COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Nominal probabilities of the central intervals that are checked."""

_CHUNK = 1 << 15
"""Pixels at a time: 19 classes of them fit into a processor's cache."""


class ClassPixels(NamedTuple):
    """What class probabilities say of each pixel, (H,W)."""

    labels: np.ndarray
    """Most probable class, uint8."""
    confidence: np.ndarray
    """Its probability, float32."""
    entropy: np.ndarray
    """−Σ p ln p, nats, float32."""
    nll: np.ndarray
    """−ln p of the true class, float32; of no meaning where there is none."""
    brier: np.ndarray
    """Σ (p_c − [c is true])², 0…2, float32; of no meaning where there is no true class."""


def class_pixels(probabilities: np.ndarray, truth: np.ndarray) -> ClassPixels:
    """Look at each pixel's class probabilities.

    Args:
        probabilities: (C,H,W), sums of 1 over the classes.
        truth: ids uint8 (H,W).

    Raises:
        ValueError: shapes do not fit, or some pixel's values are no probabilities.
    """
    if probabilities.ndim != 3 or probabilities.shape[1:] != truth.shape:
        raise ValueError(
            "Expected `probabilities` (C,H,W) and `truth` (H,W) of one size, but got "
            f"{probabilities.shape} and {truth.shape}."
        )
    flat, true = probabilities.reshape(len(probabilities), -1), truth.ravel()
    found = ClassPixels(
        np.zeros(true.size, np.uint8), *(np.zeros(true.size, np.float32) for _ in range(4))
    )
    for begin in range(0, true.size, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        p = flat[:, part].astype(np.float32, copy=False)
        for all_pixels, some in zip(found, _some_pixels(p, true[part]), strict=True):
            all_pixels[part] = some
    return ClassPixels(*(values.reshape(truth.shape) for values in found))


def _some_pixels(p: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    """`ClassPixels` of p (C,n) and truth (n,)."""
    total = p.sum(0)
    if not (np.abs(total - 1) <= 0.01).all() or p.min() < 0:
        raise ValueError(
            "Expected `probabilities` from 0 that sum to 1 over the classes, but got sums from "
            f"{total.min():.4g} to {total.max():.4g} and values from {p.min():.4g}: are they "
            "logits, or is the network's output NaN?"
        )
    labels, confidence = np.zeros(p.shape[1], np.uint8), p[0].copy()
    for c in range(1, len(p)):  # several times faster than argmax along the first axis
        np.copyto(labels, np.uint8(c), where=p[c] > confidence)
        np.maximum(confidence, p[c], out=confidence)
    entropy = -np.einsum("cn,cn->n", p, np.log(np.maximum(p, SMALLEST)))
    # Any class does where there is no true one.
    of_true = p[np.minimum(truth, len(p) - 1), np.arange(p.shape[1])]
    nll = -np.log(np.maximum(of_true, SMALLEST))
    brier = np.einsum("cn,cn->n", p, p) - 2 * of_true + 1
    return labels, confidence, np.maximum(entropy, 0), np.maximum(nll, 0), np.maximum(brier, 0)


class ClassScores(Additive):
    """NLL and Brier score of class probabilities, averaged over pixels."""

    SUMS = ("sums",)

    def __init__(self) -> None:
        self.sums = np.zeros(3)

    def update(self, nll: np.ndarray, brier: np.ndarray) -> None:
        """Add pixels, (n,) each."""
        self.sums += [nll.size, nll.sum(dtype=np.float64), brier.sum(dtype=np.float64)]

    def compute(self) -> dict[str, float]:
        """`nll` (nats) and `brier` (0…2, summed over the classes)."""
        n, nll, brier = (float(value) for value in self.sums)
        return {"nll": nll / (n or float("nan")), "brier": brier / (n or float("nan"))}


class GaussianScores(Additive):
    """NLL of depths under N(μ, s²), and how often its central intervals hold the truth.

    The NLL is ½((y − μ)²/s² + ln s²), s² with `MIN_VARIANCE` added: the paper's loss, which leaves
    out ½ ln 2π. In it a mean beyond the range is at its end. Where there `is_estimate` none, the
    truth lies outside of every interval, and the NLL is that of the range's worse end with the
    smallest variance: no answer scores worse, so abstaining never pays.
    """

    SUMS = ("pixels", "nll", "inside")

    def __init__(self) -> None:
        self.pixels = np.zeros(())
        self.nll = np.zeros(())
        self.inside = np.zeros(len(COVERAGES))

    def update(
        self, mean: np.ndarray, variance: np.ndarray, truth: np.ndarray, max_depth: float
    ) -> None:
        """Add pixels with a valid truth: mean, m, variance, m², and truth, m, each (n,)."""
        y, mu, s2 = (array.astype(np.float64) for array in (truth, mean, variance))
        given = is_estimate(mu, s2)
        off = np.where(given, y - np.minimum(mu, max_depth), np.maximum(y, max_depth - y))
        floored = np.where(given, s2, 0.0) + MIN_VARIANCE
        self.pixels += y.size
        self.nll += 0.5 * np.sum(off**2 / floored + np.log(floored))
        # |y − μ| ≤ z·s as squares, without a division by s = 0.
        with np.errstate(divide="ignore", invalid="ignore"):
            square = (y - mu) ** 2
            ratio = np.where(square > 0, square / s2, 0.0)
        ratio[~given] = np.inf
        limits = [NormalDist().inv_cdf((1 + p) / 2) ** 2 for p in COVERAGES]
        slot = np.searchsorted(limits, ratio, side="left")
        self.inside += np.cumsum(np.bincount(slot, minlength=len(limits) + 1)[:-1])

    def compute(self) -> dict[str, float | np.ndarray]:
        """`nll`; `coverage`, the shares (11,) of truths within the intervals of `COVERAGES`; NaN
        without a pixel."""
        n = float(self.pixels) or float("nan")
        return {"nll": float(self.nll) / n, "coverage": self.inside / n}
