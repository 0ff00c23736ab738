"""What is known: statistics of the features of images, from which a distance is measured."""

from __future__ import annotations

import numpy as np

from emu_core.runtime.calibration import Distance

SHARE = 0.9
"""Share of the known images that are near."""

FAR = 1.5
"""Distance from which on an image is far, in distances up to which it is near."""

LEAST = 10
"""Least number of known images."""

_SMALLEST = 1e-3  # of a standard deviation; features vary by about 1 over an image


def check_count(count: int) -> None:
    """Refuse a number of known images that is too small, with a ValueError."""
    if count < LEAST:
        raise ValueError(
            f"A distance needs at least {LEAST} frames of the first data set, but there are "
            f"{count}: use a smaller --stride, or calibrate without --distance."
        )


def known_images(features: np.ndarray) -> tuple[Distance, np.ndarray]:
    """Measure what images of a data set have in common.

    Args:
        features: Of each image, (k, n).

    Returns:
        The distance without further values; and the weight of each image, (k,), if it is left out
        of the statistics: the distances of images that are part of them are too small.

    Raises:
        ValueError: There are too few images.
    """
    check_count(len(features))
    left_out = []
    for index in range(len(features)):
        others = np.delete(features, index, axis=0)
        left_out.append(_between(others, 0.0, 1.0).of(features[index : index + 1])[0])
    near = float(np.quantile(left_out, SHARE))
    found = _between(features, near, FAR * near)
    return found, found.weight_at(np.array(left_out))


def _between(features: np.ndarray, near: float, far: float) -> Distance:
    scale = np.maximum(features.std(axis=0, ddof=1), _SMALLEST)
    mean = features.mean(axis=0)
    return Distance(_short(mean), _short(scale), *_short(np.array([near, far])))


def _short(values: np.ndarray) -> tuple[float, ...]:
    """Six digits of each value: they are part of the metadata of a file."""
    return tuple(float(f"{value:.6g}") for value in values)
