"""Fit a temperature of the classes and a factor of the depth deviation on held-out frames.

    found = calibrate(Path("student.onnx"), [validation])
    write_calibrated(Path("student.onnx"), Path("calibrated.onnx"), found)

The temperature minimises the NLL (Guo et al., ICML 2017). The factor is that of split conformal
prediction with the score |error| / deviation (Angelopoulos and Bates, arXiv 2107.07511): on the
frames of the fit, intervals of 90 % hold 90 % of the depths, and of several data sets at least
90 % of each. It may grow with the uncertainty of the class, if that is better on frames that were
left out, or on shifted frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np

from emu_core.data.datasets import DataSet
from emu_core.data.sample import DataError
from emu_core.evaluation.fitting.pixels import (
    TINY,
    Pixels,
    normalized_entropy,
    sample_pixels,
    softmax,
)
from emu_core.metrics.classes import CalibrationError
from emu_core.runtime.calibration import UNCALIBRATED, Calibration
from emu_core.runtime.perceiver import Perceiver

SHARE = 0.9
"""Share of the true depths that the intervals of the fit hold."""

_Z = NormalDist().inv_cdf(0.5 + SHARE / 2)
_RATIOS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Candidates for std_doubt / std_scale; 0: the class has no influence."""

_TEMPERATURES = (0.2, 5.0)


def calibrate(
    model: Path, parts: Sequence[DataSet], stride: int = 1, shifts: Sequence[str] = ()
) -> Calibration:
    """Fit the calibration of a model file on frames, and print the metrics before and after.

    Args:
        model: Model file; it is not changed.
        parts: Frames that no training has seen, of each data set.
        stride: Step between the frames.
        shifts: Names in `SHIFTS`. On the frames with these changes, it is chosen how much the
            deviation grows with the uncertainty of the class.

    Raises:
        ModelError: The file is not usable.
        RegistryError, DataError: See `shifted_parts`.
        ValueError: There is nothing to calibrate, see `sample_pixels`.
    """
    shifted = shifted_parts(parts, shifts)
    perceiver = Perceiver(model)
    draws = [
        Drawn(
            f"{part.title} ({part.split_title})",
            len(range(0, len(part), stride)),
            sample_pixels(perceiver, part, stride),
        )
        for part in [*parts, *shifted]
    ]
    earlier = perceiver.info.calibration or UNCALIBRATED
    return fit_and_print(draws[: len(parts)], draws[len(parts) :], earlier)


def shifted_parts(parts: Sequence[DataSet], shifts: Sequence[str]) -> list[DataSet]:
    """Return each data set with each change; those that cannot have it are left out, with a note.

    Raises:
        RegistryError: There is no such shift.
        DataError: No data set can have one of the changes.
    """
    found = []
    for name in shifts:
        changed, refusals = [], []
        for part in parts:
            shifted = part.shifted(name)
            try:
                shifted[0]
                changed.append(shifted)
            except DataError as error:
                refusals.append(error)
                print(f"note: {part.title} is left out of {name}: {error}")
        if refusals and not changed:
            raise refusals[0]
        found += changed
    return found


@dataclass(frozen=True)
class Drawn:
    """Name of a split, the number of its frames, and pixels that were drawn from them."""

    name: str
    frames: int
    pixels: Pixels


def fit_and_print(
    draws: Sequence[Drawn],
    shifted: Sequence[Drawn] = (),
    earlier: Calibration = UNCALIBRATED,
) -> Calibration:
    """Fit on the pixels of data sets, and print the metrics before and after.

    Args:
        draws, shifted: The arguments of `fit`.
        earlier: Calibration before this one.
    """
    found = fit([each.pixels for each in draws], [each.pixels for each in shifted])
    print(
        f"temperature {found.temperature:.3f}, deviation × ({found.std_scale:.3f} + "
        f"{found.std_doubt:.3f} · class uncertainty)"
    )
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for each in [*draws, *shifted]:
        first, second = (measure(each.pixels, c) for c in (earlier, found))
        for metric in first:
            print(f"{each.name}: {metric} {first[metric]:.4f} → {second[metric]:.4f}")
        before |= {f"{each.name}.{metric}": value for metric, value in first.items()}
        after |= {f"{each.name}.{metric}": value for metric, value in second.items()}
    frames = ", ".join(f"{each.frames} frames of {each.name}" for each in [*draws, *shifted])
    return replace(found, frames=frames, before=before, after=after)


def fit(parts: Sequence[Pixels], shifted: Sequence[Pixels] = ()) -> Calibration:
    """Fit the temperature, then the factor of the deviation, on the pixels of data sets.

    Args:
        parts: Pixels of frames like those of the training.
        shifted: Pixels of changed frames, see `fit_deviation`.
    """
    of_classes = [part for part in parts if len(part.group)]
    of_depth = [part for part in parts if len(part.depth)]
    temperature = fit_temperature(of_classes) if of_classes else 1.0
    scale, doubt = (1.0, 0.0)
    if of_depth:
        scale, doubt = fit_deviation(of_depth, temperature, [p for p in shifted if len(p.depth)])
    return Calibration(temperature, scale, doubt)


def fit_temperature(parts: Sequence[Pixels]) -> float:
    """Find the temperature of the lowest NLL, 0.2 to 5, by golden section search of its log.

    The NLL of single classes is convex in 1/T, so it has one minimum. All data sets count equally.
    """
    low, high = np.log(_TEMPERATURES)
    golden = (np.sqrt(5) - 1) / 2

    def loss(log: float) -> float:
        return sum(class_nll(part, float(np.exp(log))) for part in parts)

    while high - low > 1e-4:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def fit_deviation(
    parts: Sequence[Pixels], temperature: float, shifted: Sequence[Pixels] = ()
) -> tuple[float, float]:
    """Find the factor `scale + doubt · uncertainty` of the deviation.

    For each candidate of the ratio of the two, `scale` is the largest of those that the data sets
    need: intervals that are too narrow are worse than intervals that are too wide. The ratio is
    the one with the lowest Gaussian NLL on `shifted`, or without these on one half of the frames
    of `parts` after a fit on the other half.
    """
    fitted = [_Deviations.of(part, temperature) for part in parts]
    if shifted:
        folds = [(fitted, [_Deviations.of(part, temperature) for part in shifted])]
    else:
        halves = [d.select(d.odd) for d in fitted], [d.select(~d.odd) for d in fitted]
        complete = all(len(d.error) for half in halves for d in half)
        folds = [halves, halves[::-1]] if complete else []
    losses = {ratio: sum(_loss(*fold, ratio) for fold in folds) for ratio in _RATIOS}
    best = min(losses, key=losses.__getitem__)  # the first one if all are equal
    return _scale(fitted, best), best * _scale(fitted, best)


@dataclass(frozen=True)
class _Deviations:
    """Errors and deviations of pixels, the uncertainty of their class, and whether their frame has
    an odd number; all (m,)."""

    error: np.ndarray
    std: np.ndarray
    uncertainty: np.ndarray
    odd: np.ndarray

    @classmethod
    def of(cls, part: Pixels, temperature: float) -> _Deviations:
        return cls(
            np.abs(part.depth - part.true_depth),
            part.std,
            normalized_entropy(part.depth_scores / temperature),
            np.unique(part.depth_frame, return_inverse=True)[1] % 2 == 1,
        )

    def select(self, mask: np.ndarray) -> _Deviations:
        return _Deviations(*(column[mask] for column in vars(self).values()))

    def inflated(self, ratio: float) -> np.ndarray:
        return self.std * (1 + ratio * self.uncertainty)


def _scale(parts: Sequence[_Deviations], ratio: float) -> float:
    """Factor with which the intervals hold at least `SHARE` of the depths of each data set."""
    return max(_conformal(part.error, part.inflated(ratio)) for part in parts)


def _loss(fitted: Sequence[_Deviations], tested: Sequence[_Deviations], ratio: float) -> float:
    """Gaussian NLL of some pixels, a mean over data sets, with the scale that others need."""
    scale = _scale(fitted, ratio)
    losses = []
    for part in tested:
        std = scale * part.inflated(ratio) + 1e-6
        losses.append(np.mean(0.5 * (part.error / std) ** 2 + np.log(std)))
    return float(np.mean(losses))


def _conformal(error: np.ndarray, std: np.ndarray) -> float:
    """Factor of the deviation with which the intervals hold `SHARE` of the errors."""
    score = error / np.maximum(std, 1e-6)
    level = min(1.0, np.ceil((len(score) + 1) * SHARE) / len(score))
    return max(float(np.quantile(score, level, method="higher")) / _Z, 1e-3)


def measure(pixels: Pixels, calibration: Calibration = UNCALIBRATED) -> dict[str, float]:
    """Measure `nll` and `ece` of the classes, and `interval_90` of the depth estimates."""
    metrics = {}
    if len(pixels.group):
        p = _group_probabilities(pixels, calibration.temperature)
        error = CalibrationError()
        error.update(p.max(axis=1), p.argmax(axis=1) == pixels.group)
        metrics["nll"] = class_nll(pixels, calibration.temperature)
        metrics["ece"] = float(error.compute()["ece"])
    if len(pixels.depth):
        uncertainty = normalized_entropy(pixels.depth_scores / calibration.temperature)
        std = pixels.std * calibration.factor(uncertainty)
        inside = np.abs(pixels.depth - pixels.true_depth) <= _Z * std
        metrics["interval_90"] = float(inside.mean())
    return metrics


def class_nll(pixels: Pixels, temperature: float) -> float:
    """Mean of −log p of the true group of classes, nats."""
    p = _group_probabilities(pixels, temperature)
    return float(-np.log(np.maximum(p[np.arange(len(p)), pixels.group], TINY)).mean())


def _group_probabilities(pixels: Pixels, temperature: float) -> np.ndarray:
    return softmax(pixels.scores / temperature) @ pixels.groups
