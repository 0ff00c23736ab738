"""Shifts: changes of all images of a split, one family each, to test a network or to distil one.

    python training/evaluate.py --splits test test+rain test+dirt

A frame always gets the same change. `HELD_OUT` names the families that neither a training nor a
calibration of this project uses: how well uncertainties hold on them tells how well they hold in
conditions that nobody thought of. `NOT_TRAINED` are no part of a training either; a calibration
may use them to find how much too confident a network is under changes that it was not trained for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from emu_core.data.appearance import effects
from emu_core.data.appearance.effects import from_light, line_kernel, to_light
from emu_core.data.sample import DataError, Sample
from emu_core.registry import Registry

Shift = Callable[[Sample, np.random.Generator], np.ndarray]
"""Function of a frame and a source of randomness that returns its changed image, uint8 RGB."""

SHIFTS: Registry[Shift] = Registry("shift")
"""Families of shift by the names that commands use."""

HELD_OUT = ("rain", "dirt", "glare")
"""Families that no training and no calibration uses."""

NOT_TRAINED = ("snow", "zoom", "pixelation")
"""Families that no training uses, for calibrations."""

DENSE = 0.5
"""Share of the pixels with a depth from which fog by depth can be drawn."""


def apply_shift(name: str, sample: Sample) -> Sample:
    """Change the image of a frame; its ground truth stays."""
    seed = zlib.crc32(f"{name} {sample.name}".encode())
    return replace(sample, image=SHIFTS[name](sample, np.random.default_rng(seed)))


@SHIFTS.register("rain")
def rain(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Bright streaks of two sizes, blurred along their fall, and less contrast."""
    light = to_light(sample.image)
    height, width = light.shape[:2]
    veil = rng.uniform(0.1, 0.3)
    light = (1 - veil) * light + veil * light.mean()
    angle = np.pi / 2 + rng.uniform(-0.35, 0.35)
    for size in (1, 2):  # far and near drops
        length = max(3, int(size * height / 24))
        starts = rng.random((height, width)) < rng.uniform(0.002, 0.006) / size**2
        drops = cv2.dilate(starts.astype(np.float32), np.ones((size, size), np.uint8))
        streaks = cv2.filter2D(drops, -1, line_kernel(length, angle))
        opacity = np.clip(streaks * length, 0, 1) * rng.uniform(0.25, 0.5)
        light += opacity[..., None] * (0.8 - light)
    return from_light(light)


@SHIFTS.register("dirt")
def dirt(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Blurred brown spots on the lens, which hide 5 to 20 % of the image."""
    light = to_light(sample.image)
    height, width = light.shape[:2]
    grain = rng.standard_normal((height, width), np.float32)
    # Spots of two sizes, out of focus.
    spots = cv2.GaussianBlur(grain, (0, 0), height / 24)
    spots = _unit(spots) + 0.5 * _unit(cv2.GaussianBlur(grain, (0, 0), height / 64))
    limit = np.quantile(spots, 1 - rng.uniform(0.05, 0.2))
    opacity = rng.uniform(0.7, 0.95) / (1 + np.exp(-6 * (spots - limit)))
    brown = np.array([0.10, 0.07, 0.04], np.float32) * rng.uniform(0.5, 1.5)
    return from_light(light + opacity[..., None] * (brown - light))


@SHIFTS.register("glare")
def glare(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Light of a low sun in the upper half, which spreads in the lens: it falls with distance."""
    light = to_light(sample.image)
    height, width = light.shape[:2]
    row, column = rng.uniform(0.05, 0.5) * height, rng.uniform(0.1, 0.9) * width
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - row, x - column) / height
    spread = 4 * np.exp(-distance / 0.06) + rng.uniform(0.3, 0.8) * np.exp(-distance / 0.5)
    color = np.array([1.0, 0.95, 0.85], np.float32)
    return from_light(light + spread[..., None] * color)


@SHIFTS.register("snow")
def snow(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """White flakes of three sizes, the near ones out of focus, and less contrast."""
    light = to_light(sample.image)
    height, width = light.shape[:2]
    veil = rng.uniform(0.1, 0.3)
    light = (1 - veil) * light + veil * 0.7
    for size in (1, 2, 4):  # far to near flakes
        centres = rng.random((height, width)) < rng.uniform(0.002, 0.006) / size**2
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1))
        flakes = cv2.dilate(centres.astype(np.float32), disc)
        opacity = cv2.GaussianBlur(flakes, (0, 0), 0.5 * size) * rng.uniform(0.4, 0.8)
        light += opacity[..., None] * (0.9 - light)
    return from_light(light)


@SHIFTS.register("zoom")
def zoom(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Blur of a fast motion forward: the mean of views that are enlarged by up to 3 to 12 %."""
    light = to_light(sample.image)
    height, width = light.shape[:2]
    total: np.ndarray = np.zeros_like(light)
    factors = np.linspace(1, 1 + rng.uniform(0.03, 0.12), 12)
    for factor in factors:
        about_centre = cv2.getRotationMatrix2D((width / 2, height / 2), 0, float(factor))
        total += cv2.warpAffine(light, about_centre, (width, height))
    return from_light(total / len(factors))


@SHIFTS.register("pixelation")
def pixelation(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """A sensor with fewer pixels: each is the mean of a square of 1/160 to 1/60 of the height."""
    height, width = sample.image.shape[:2]
    side = rng.uniform(height / 160, height / 60)
    size = (max(1, round(width / side)), max(1, round(height / side)))
    few = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(few, (width, height), interpolation=cv2.INTER_NEAREST)


@SHIFTS.register("fog")
def fog(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Fog by depth, see `effects.fog`; DataError for a frame without a depth almost everywhere."""
    known = float(np.isfinite(sample.depth).mean())
    if known < DENSE:
        raise DataError(
            f"Fog needs the depth of at least {DENSE:.0%} of the pixels, but {sample.name} has "
            f"that of {known:.0%}. Choose another shift for this data set; frames that are "
            "`unlabelled` have no depth at all."
        )
    return effects.fog(sample.image, sample.depth, rng)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / x.std()


def _register(effect: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> None:
    SHIFTS.add(effect.__name__, lambda sample, rng: effect(sample.image, rng))


for _effect in (
    effects.night,
    effects.texture,
    effects.exposure,
    effects.blur,
    effects.noise,
    effects.compression,
):
    _register(_effect)
