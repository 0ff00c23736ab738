"""Fit a temperature of the classes and a factor of the depth deviation on held-out frames.

    found = calibrate(Path("student.onnx"), [validation])
    write_calibrated(Path("student.onnx"), Path("calibrated.onnx"), found)

The temperature minimises the NLL (Guo et al., ICML 2017). The factor is that of split conformal
prediction with the score |error| / deviation (Angelopoulos and Bates, arXiv 2107.07511): on the
frames of the fit, intervals of 90 % hold 90 % of the depths, and of several data sets at least
90 % of each. It may grow with the uncertainty of the class, if that is better on frames that were
left out, or on shifted frames. Both values may change with the distance of an image from the
frames of one data set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emu_core.data.datasets import DataSet
from emu_core.data.sample import DataError
from emu_core.evaluation.fitting.calibrated_file import uncalibrated
from emu_core.evaluation.fitting.deviation import (
    Deviations,
    Z,
    fit_deviation,
    fit_distant_deviation,
)
from emu_core.evaluation.fitting.distance_graph import open_features
from emu_core.evaluation.fitting.known import check_count, known_images
from emu_core.evaluation.fitting.pixels import (
    TINY,
    Pixels,
    sample_pixels,
    softmax,
)
from emu_core.metrics.classes import CalibrationError
from emu_core.runtime.calibration import UNCALIBRATED, Calibration
from emu_core.runtime.model_file import read_info
from emu_core.runtime.perceiver import Perceiver

_TEMPERATURES = (0.2, 5.0)


def calibrate(
    model: Path,
    parts: Sequence[DataSet],
    stride: int = 1,
    shifts: Sequence[str] = (),
    distance: bool = False,
) -> Calibration:
    """Fit the calibration of a model file on frames, and print the metrics before and after.

    Args:
        model: Model file; it is not changed. An earlier calibration of it does not count.
        parts: Frames that no training has seen, of each data set.
        stride: Step between the frames.
        shifts: Names in `SHIFTS`. On the frames with these changes, it is chosen how much the
            deviation grows with the uncertainty of the class.
        distance: Whether both values depend on the distance of an image from the frames of the
            first data set. The shifts change only these; see `fit_with_distance`.

    Raises:
        ModelError: The file is not usable, or has no features for a distance.
        RegistryError, DataError: See `shifted_parts`.
        ValueError: There is nothing to calibrate, see `sample_pixels` and `fit_with_distance`.
    """
    if distance:
        check_count(len(range(0, len(parts[0]), stride)))
        if len(parts) == 1 and not shifts:
            raise ValueError(
                "A distance needs frames that are far from those of the first data set: give a "
                "second data set, or shifts."
            )
    shifted = shifted_parts(parts[:1] if distance else parts, shifts)
    earlier = read_info(model).calibration or UNCALIBRATED
    with uncalibrated(model) as raw:
        with_features = distance or earlier.distance is not None
        features = open_features(raw) if with_features else None
        perceiver = Perceiver(raw)
        draws = [
            Drawn(
                f"{part.title} ({part.split_title})",
                sample_pixels(perceiver, part, stride, features=features),
            )
            for part in [*parts, *shifted]
        ]
    return fit_and_print(draws[: len(parts)], draws[len(parts) :], earlier, distance)


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
    """Name of a split, and pixels that were drawn from its frames."""

    name: str
    pixels: Pixels


def fit_and_print(
    draws: Sequence[Drawn],
    shifted: Sequence[Drawn] = (),
    earlier: Calibration = UNCALIBRATED,
    distance: bool = False,
) -> Calibration:
    """Fit on the pixels of data sets, and print the metrics before and after.

    Args:
        draws, shifted, distance: The arguments of `fit`.
        earlier: Calibration before this one.
    """
    found = fit([each.pixels for each in draws], [each.pixels for each in shifted], distance)
    print(
        f"temperature {found.temperature:.3f}, deviation × ({found.std_scale:.3f} + "
        f"{found.std_doubt:.3f} · class uncertainty)"
    )
    if found.distance is not None:
        print(
            f"far from {draws[0].name}: temperature {found.distance.temperature:.3f}, deviation "
            f"also × {found.distance.std_factor:.3f}"
        )
        for each in [*draws, *shifted]:
            weight = found.weight(each.pixels.features)
            print(f"{each.name}: {np.mean(weight == 1):.0%} far, {np.mean(weight == 0):.0%} near")
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for each in [*draws, *shifted]:
        first, second = (measure(each.pixels, c) for c in (earlier, found))
        for metric in first:
            print(f"{each.name}: {metric} {first[metric]:.4f} → {second[metric]:.4f}")
        before |= {f"{each.name}.{metric}": value for metric, value in first.items()}
        after |= {f"{each.name}.{metric}": value for metric, value in second.items()}
    frames = ", ".join(
        f"{len(each.pixels.features)} frames of {each.name}" for each in [*draws, *shifted]
    )
    return replace(found, frames=frames, before=before, after=after)


def fit(
    parts: Sequence[Pixels], shifted: Sequence[Pixels] = (), distance: bool = False
) -> Calibration:
    """Fit the temperature, then the factor of the deviation, on the pixels of data sets.

    Args:
        parts: Pixels of frames like those of the training.
        shifted: Pixels of changed frames, see `fit_deviation`.
        distance: Whether the values depend on the distance from the frames of the first part; see
            `fit_with_distance`.
    """
    if distance:
        return fit_with_distance(parts[0], parts[1:], shifted)
    of_classes = [part for part in parts if len(part.group)]
    temperature = fit_temperature(of_classes) if of_classes else 1.0
    of_depth, changed = (
        [Deviations.of(part, temperature) for part in some if len(part.depth)]
        for some in (parts, shifted)
    )
    scale, doubt = fit_deviation(of_depth, changed) if of_depth else (1.0, 0.0)
    return Calibration(temperature, scale, doubt)


def fit_with_distance(
    known: Pixels, others: Sequence[Pixels], changed: Sequence[Pixels]
) -> Calibration:
    """Fit values for images that are near known ones, and values for distant images.

    The temperature of distant images has the lowest NLL on all but the known frames, and is not
    below that of known images. For the factor of the deviation, see `fit_distant_deviation`.

    Args:
        known: Pixels of frames of one data set.
        others, changed: Pixels of other data sets and of changed frames; all count equally.

    Raises:
        ValueError: There are too few frames.
    """
    place, of_known = known_images(known.features)
    near = fit_temperature([known]) if len(known.group) else 1.0
    found = Calibration(near, distance=replace(place, temperature=near))
    away = [p for p in (*others, *changed) if len(p.group)]
    if len(known.group) and away:

        def with_distant(temperature: float) -> Calibration:
            return replace(found, distance=replace(place, temperature=temperature))

        def loss(temperature: float) -> float:
            return sum(class_nll(p, _temperatures(with_distant(temperature), p)) for p in away)

        found = with_distant(max(near, _search(loss)))
    if not len(known.depth):
        return found
    at = found.temperature_at
    known_depth = Deviations.of(known, at, of_known)
    of_others, of_changed = (
        [Deviations.of(p, at, place.weight(p.features)) for p in some if len(p.depth)]
        for some in (others, changed)
    )
    scale, doubt, factor = fit_distant_deviation(known_depth, of_others, of_changed)
    assert found.distance is not None
    distance = replace(found.distance, std_factor=factor)
    return replace(found, std_scale=scale, std_doubt=doubt, distance=distance)


def fit_temperature(parts: Sequence[Pixels]) -> float:
    """Find the temperature of the lowest NLL, 0.2 to 5. All data sets count equally.

    The NLL of single classes is convex in 1/T, so it has one minimum.
    """
    return _search(lambda temperature: sum(class_nll(part, temperature) for part in parts))


def _search(loss: Callable[[float], float]) -> float:
    """Find the temperature of the lowest loss by golden section search of its log."""
    low, high = np.log(_TEMPERATURES)
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(float(np.exp(left))) < loss(float(np.exp(right))):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def measure(pixels: Pixels, calibration: Calibration = UNCALIBRATED) -> dict[str, float]:
    """Measure `nll` and `ece` of the classes, and `interval_90` of the depth estimates."""
    metrics = {}
    if len(pixels.group):
        of_pixels = _temperatures(calibration, pixels)
        p = _group_probabilities(pixels, of_pixels)
        error = CalibrationError()
        error.update(p.max(axis=1), p.argmax(axis=1) == pixels.group)
        metrics["nll"] = class_nll(pixels, of_pixels)
        metrics["ece"] = float(error.compute()["ece"])
    if len(pixels.depth):
        weights = calibration.weight(pixels.features)
        found = Deviations.of(pixels, calibration.temperature_at, weights)
        std = found.std * calibration.factor(found.uncertainty, found.weight)
        metrics["interval_90"] = float((found.error <= Z * std).mean())
    return metrics


def class_nll(pixels: Pixels, temperature: float | np.ndarray) -> float:
    """Mean of −log p of the true group of classes, nats.

    Args:
        pixels: The pixels.
        temperature: One for all, or of each pixel.
    """
    p = _group_probabilities(pixels, temperature)
    return float(-np.log(np.maximum(p[np.arange(len(p)), pixels.group], TINY)).mean())


def _temperatures(calibration: Calibration, pixels: Pixels) -> np.ndarray:
    """Temperature of each pixel with a class."""
    return calibration.temperature_at(calibration.weight(pixels.features))[pixels.class_frame]


def _group_probabilities(pixels: Pixels, temperature: float | np.ndarray) -> np.ndarray:
    return softmax(pixels.scores / np.reshape(temperature, (-1, 1))) @ pixels.groups
