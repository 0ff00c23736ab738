"""The scale of depth: from the options, from a picture's EXIF, or a guess.

A monocular network predicts metres only for a known focal length. Lenses are taken as pinholes
with square pixels whose axis passes through the middle of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from emu_core.runtime.perceiver import Perceiver

GIVEN, EXIF, GUESS = "given", "EXIF", "guess"
_FILM_DIAGONAL = math.hypot(36, 24)  # mm
_TOLERANCE = 0.1  # of the trained fields of view
_USUAL_VIEW = 65.0  # degrees: phones and webcams


@dataclass(frozen=True)
class LensOptions:
    """What the user knows of the lens: one of these, or nothing.

    Attributes:
        focal: Focal length in pixels of the picture.
        fov: Horizontal field of view, degrees.
    """

    focal: float | None = None
    fov: float | None = None

    def __post_init__(self) -> None:
        if self.focal is not None and self.fov is not None:
            raise ValueError("Give the focal length or the field of view, not both.")
        if self.focal is not None and not 0 < self.focal < math.inf:
            raise ValueError(f"The focal length must be above 0 pixels, but it is {self.focal}.")
        if self.fov is not None and not 0 < self.fov < 180:
            raise ValueError(
                f"The field of view must be above 0 and below 180 degrees, but it is {self.fov}."
            )


@dataclass(frozen=True)
class Lens:
    """The lens of one picture.

    Attributes:
        focal: Focal length in pixels of the picture.
        size: Height and width of the picture.
        origin: Where the focal length comes from: `GIVEN`, `EXIF` or `GUESS`.
        text: What to tell about the scale of depth; nothing if the model has no depth.
        caption: The same in a few words, for pictures; nothing if the scale is no guess.
    """

    focal: float
    size: tuple[int, int]
    origin: str
    text: str
    caption: str

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """fx, fy, cx and cy in pixels of the picture; pixel centres are at whole numbers."""
        height, width = self.size
        return self.focal, self.focal, (width - 1) / 2, (height - 1) / 2


def find_lens(
    perceiver: Perceiver, size: tuple[int, int], options: LensOptions, film_mm: float | None = None
) -> Lens:
    """Choose the focal length of a picture: the given one, EXIF's, or that of the training.

    Args:
        perceiver: The model.
        size: Height and width of the picture, pixels.
        options: What the user knows.
        film_mm: Focal length of 35 mm film in the picture's EXIF.
    """
    height, width = size
    if options.focal is not None:
        focal, origin, text = options.focal, GIVEN, "as given"
    elif options.fov is not None:
        focal, origin = width / (2 * math.tan(math.radians(options.fov / 2))), GIVEN
        text = f"from the field of view of {options.fov:g}°"
    elif film_mm:
        focal, origin = film_mm / _FILM_DIAGONAL * math.hypot(height, width), EXIF
        text = f"from the picture's EXIF ({film_mm:g} mm of 35 mm film)"
    else:
        focal, origin, text = _trained_focal(perceiver, size), GUESS, ""
    view = math.degrees(2 * math.atan(width / (2 * focal)))
    caption = ""
    if "depth" not in perceiver.info.outputs:
        text = ""
    elif origin != GUESS:
        text = f"Focal length: {focal:.0f} pixels, {text}.{_warning(perceiver, view)}"
    else:
        # Some models of others predict metres without knowing the lens.
        metric = perceiver.info.canonical_focal is None
        what = "width of the point cloud" if metric else "scale of depth"
        assumed = "a usual one" if metric else "that of the training"
        caption = "" if metric else f"{what}: a guess"
        text = (
            f"The {what} is a guess: the lens is unknown, so {assumed} is assumed "
            f"(a focal length of {focal:.0f} pixels, a horizontal field of view of {view:.0f}°). "
            "Give the focal length or the field of view for metres."
        )
    return Lens(focal, size, origin, text, caption)


def _trained_focal(perceiver: Perceiver, size: tuple[int, int]) -> float:
    """Focal length, in pixels of a picture of this size, that needs no correction of depth."""
    canonical = perceiver.info.canonical_focal
    if canonical is None:
        return size[1] / (2 * math.tan(math.radians(_USUAL_VIEW / 2)))
    return canonical / perceiver.fitting(*size).network_focal(1, 1)


def _warning(perceiver: Perceiver, view: float) -> str:
    narrowest, widest = perceiver.info.horizontal_fov or (0.0, 180.0)
    if narrowest * (1 - _TOLERANCE) <= view <= widest * (1 + _TOLERANCE):
        return ""
    return (
        f" The field of view of {view:.0f}° is outside those of the training ({narrowest:.0f}° to "
        f"{widest:.0f}°): expect less accurate classes and depths."
    )
