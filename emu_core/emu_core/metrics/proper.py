"""Proper scores of class probabilities and of Gaussian depths, and coverage of intervals.

A score is proper if the true distribution has the best expected score (Gneiting and Raftery,
JASA 2007).
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from emu_core.metrics.accumulator import Accumulator
from emu_core.metrics.depth import is_estimate

SMALLEST = np.finfo(np.float32).tiny
"""Lower limit of probabilities; its NLL is 87."""

MIN_VARIANCE = 1e-4
"""Added to every variance, m², as in `training.losses`: the NLL stays finite."""

COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Nominal probabilities of the central intervals."""

_CHUNK = 1 << 15
"""Pixels per step: 19 classes of them fit into a processor's cache."""


class ClassPixels(NamedTuple):
    """Values of each pixel, (H,W), float32; the last two are undefined without a true class."""

    labels: np.ndarray  # most probable class, uint8
    confidence: np.ndarray  # its probability
    entropy: np.ndarray  # −Σ p ln p, nats
    nll: np.ndarray  # −ln p of the true class
    brier: np.ndarray  # Σ (p_c − [c is true])², 0…2 (Brier, 1950)


def class_pixels(probabilities: np.ndarray, truth: np.ndarray) -> ClassPixels:
    """Compute labels, confidence, entropy and proper scores of each pixel.

    Args:
        probabilities: (C,H,W); the sum over the classes is 1.
        truth: ids uint8 (H,W).

    Raises:
        ValueError: the shapes do not match, or the values of a pixel are not probabilities.
    """
    if probabilities.ndim != 3 or probabilities.shape[1:] != truth.shape:
        raise ValueError(
            "Expected `probabilities` (C,H,W) and `truth` (H,W) of the same size, but got "
            f"{probabilities.shape} and {truth.shape}."
        )
    flat, true = probabilities.reshape(len(probabilities), -1), truth.ravel()
    pixels = ClassPixels(
        np.zeros(true.size, np.uint8), *(np.zeros(true.size, np.float32) for _ in range(4))
    )
    for begin in range(0, true.size, _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        p = flat[:, chunk].astype(np.float32, copy=False)
        for all_pixels, some in zip(pixels, _chunk_pixels(p, true[chunk]), strict=True):
            all_pixels[chunk] = some
    return ClassPixels(*(values.reshape(truth.shape) for values in pixels))


def _chunk_pixels(p: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    """Compute the fields of `ClassPixels` of p (C,n) and truth (n,)."""
    total = p.sum(0)
    if not (np.abs(total - 1) <= 0.01).all() or p.min() < 0:
        raise ValueError(
            "Expected `probabilities` ≥ 0 with a sum of 1 over the classes, but got sums from "
            f"{total.min():.4g} to {total.max():.4g} and a minimum of {p.min():.4g}: are they "
            "logits, or is the output of the network NaN?"
        )
    labels, confidence = np.zeros(p.shape[1], np.uint8), p[0].copy()
    for c in range(1, len(p)):  # several times faster than argmax along the first axis
        np.copyto(labels, np.uint8(c), where=p[c] > confidence)
        np.maximum(confidence, p[c], out=confidence)
    entropy = -np.einsum("cn,cn->n", p, np.log(np.maximum(p, SMALLEST)))
    # Pixels without a true class use the last class; their values are ignored.
    of_true = p[np.minimum(truth, len(p) - 1), np.arange(p.shape[1])]
    nll = -np.log(np.maximum(of_true, SMALLEST))
    brier = np.einsum("cn,cn->n", p, p) - 2 * of_true + 1
    return labels, confidence, np.maximum(entropy, 0), np.maximum(nll, 0), np.maximum(brier, 0)


class ClassScores(Accumulator):
    """Mean NLL and Brier score of class probabilities over pixels."""

    SUMS = ("sums",)

    def __init__(self) -> None:
        self.sums = np.zeros(3)

    def update(self, nll: np.ndarray, brier: np.ndarray) -> None:
        """Add pixels, (n,) each."""
        self.sums += [nll.size, nll.sum(dtype=np.float64), brier.sum(dtype=np.float64)]

    def compute(self) -> dict[str, float]:
        """Compute `nll` (nats) and `brier` (0…2, summed over the classes)."""
        n, nll, brier = (float(value) for value in self.sums)
        return {"nll": nll / (n or float("nan")), "brier": brier / (n or float("nan"))}


class GaussianScores(Accumulator):
    """NLL of depths under N(μ, s²), and the share of truths inside its central intervals.

    The NLL is ½((y − μ)²/s² + ln s²) with `MIN_VARIANCE` added to s² (Kendall and Gal, NeurIPS
    2017, eq. 5), without ½ ln 2π. It limits the mean to the depth range. A pixel without an
    estimate (`is_estimate`) is outside of every interval, and its NLL is that of the worse end of
    the range with the smallest variance, which no estimate exceeds. So a missing estimate never
    improves a metric. Coverage: Kuleshov et al., ICML 2018.
    """

    SUMS = ("pixels", "nll", "inside")

    def __init__(self) -> None:
        self.pixels, self.nll, self.inside = np.zeros(()), np.zeros(()), np.zeros(len(COVERAGES))

    def update(
        self, mean: np.ndarray, variance: np.ndarray, truth: np.ndarray, max_depth: float
    ) -> None:
        """Add pixels with a valid truth: mean (m), variance (m²) and truth (m), each (n,)."""
        y, mu, s2 = (array.astype(np.float64) for array in (truth, mean, variance))
        given = is_estimate(mu, s2)
        off = np.where(given, y - np.minimum(mu, max_depth), np.maximum(y, max_depth - y))
        floored = np.where(given, s2, 0.0) + MIN_VARIANCE
        self.pixels += y.size
        self.nll += 0.5 * np.sum(off**2 / floored + np.log(floored))
        # Compare squares, (y − μ)²/s² ≤ z², where s may be 0.
        with np.errstate(divide="ignore", invalid="ignore"):
            square = (y - mu) ** 2
            ratio = np.where(square > 0, square / s2, 0.0)
        ratio[~given] = np.inf
        limits = [NormalDist().inv_cdf((1 + p) / 2) ** 2 for p in COVERAGES]
        slot = np.searchsorted(limits, ratio, side="left")
        self.inside += np.cumsum(np.bincount(slot, minlength=len(limits) + 1)[:-1])

    def compute(self) -> dict[str, float | np.ndarray]:
        """Compute `nll` and `coverage` (11,), one share per `COVERAGES`; NaN without a pixel."""
        n = float(self.pixels) or float("nan")
        return {"nll": float(self.nll) / n, "coverage": self.inside / n}
