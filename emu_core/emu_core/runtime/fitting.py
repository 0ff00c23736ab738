"""Resize images of any size to a network's fixed size, and follow the camera matrix.

Pixel centres lie at integer coordinates, so resizing by s maps x to (x + ½)·s − ½. With the part
that is cropped at the left, pixel column x of the camera image lies in the maps at

    (x + ½) · scale_x − ½ − offset_x

and the camera matrix becomes fx' = fx · scale_x, cx' = (cx + ½) · scale_x − ½ − offset_x. The same
holds for rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

FITS = ("stretch", "letterbox")

PAD_RGB = (124, 116, 104)
"""Border of a letterbox: the mean colour of ImageNet, which normalisation maps to about zero."""


@dataclass(frozen=True)
class Fitting:
    """Geometry from a camera image to the network's input, and from there to the maps.

    The image is resized from `image_size` to `resized`, both (height, width), and lies at (`top`,
    `left`) in the network's input. The outputs are cropped to (`height`, `width`) at (`crop_top`,
    `crop_left`): these are the maps of a Perception. Scales and offsets: see the module.
    """

    image_size: tuple[int, int]
    resized: tuple[int, int]
    top: int
    left: int
    crop_top: int
    crop_left: int
    height: int
    width: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def network_focal(self, fx: float, fy: float) -> float:
        """Focal length in pixels of the network's input: the geometric mean of both axes."""
        (height, width), (resized_height, resized_width) = self.image_size, self.resized
        return math.sqrt(fx * resized_width / width * fy * resized_height / height)

    def intrinsics(
        self, fx: float, fy: float, cx: float, cy: float
    ) -> tuple[float, float, float, float]:
        """Convert (fx, fy, cx, cy) of the camera image to those of the maps."""
        column = (cx + 0.5) * self.scale_x - 0.5 - self.offset_x
        row = (cy + 0.5) * self.scale_y - 0.5 - self.offset_y
        return fx * self.scale_x, fy * self.scale_y, column, row


@lru_cache(maxsize=64)
def fit_image(
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    fit: str = "stretch",
) -> Fitting:
    """Fit a camera image to a network's input and outputs; all sizes are (height, width).

    `fit` is the resize mode for other aspect ratios. `stretch` fills the input. `letterbox` keeps
    the aspect ratio, except for rounding to integer sizes, which the scales include: it centres
    the image and keeps only output pixels that lie completely inside it.
    """
    resized = input_size
    if fit == "letterbox":
        scale = min(input_size[0] / image_size[0], input_size[1] / image_size[1])
        resized = (max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale)))
    elif fit != "stretch":
        raise ValueError(f"Expected argument `fit` to be one of {FITS}, but got {fit!r}")
    top, crop_top, height, scale_y, offset_y = _fit_axis(
        image_size[0], resized[0], input_size[0], output_size[0]
    )
    left, crop_left, width, scale_x, offset_x = _fit_axis(
        image_size[1], resized[1], input_size[1], output_size[1]
    )
    maps = (crop_top, crop_left, height, width, scale_x, scale_y, offset_x, offset_y)
    return Fitting(image_size, resized, top, left, *maps)


def _fit_axis(
    image: int, resized: int, network: int, output: int
) -> tuple[int, int, int, float, float]:
    """Start, crop, length, scale and offset along one axis from its lengths in pixels."""
    start = (network - resized) // 2
    # An output pixel covers network/output pixels of the input. In integers:
    # ⌈start·output/network⌉ and ⌊(start + resized)·output/network⌋.
    crop = -(-start * output // network)
    end = (start + resized) * output // network
    if end <= crop:  # thinner than one output pixel: keep the one around its middle
        crop = min((2 * start + resized) * output // (2 * network), output - 1)
        end = crop + 1
    scale = resized / image * output / network
    return start, crop, end - crop, scale, crop - start * output / network


def check_image(rgb: np.ndarray) -> None:
    """Raise ValueError unless `rgb` is a uint8 image (h, w, 3) with pixels."""
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8:
        got = getattr(rgb, "dtype", type(rgb).__name__)
        raise ValueError(f"Expected argument `rgb` to be a uint8 array, but got {got}")
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(
            f"Expected argument `rgb` to be of shape (h, w, 3) and not empty, but got {rgb.shape}"
        )


def resize(rgb: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize `rgb`, uint8 (h, w, 3), to (height, width); the same array if it has that size."""
    height, width = size
    if rgb.shape[:2] == (height, width):
        return rgb
    # Area averaging is defined only where both axes shrink.
    shrinks = height <= rgb.shape[0] and width <= rgb.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(rgb, (width, height), interpolation=interpolation)


def fit_pixels(rgb: np.ndarray, fitting: Fitting, input_size: tuple[int, int]) -> np.ndarray:
    """Fit `rgb` into the network's input, uint8 (H, W, 3), contiguous; a copy only if needed."""
    resized = resize(rgb, fitting.resized)
    if fitting.resized == input_size:
        return np.ascontiguousarray(resized)
    height, width = fitting.resized
    image = np.full((*input_size, 3), PAD_RGB, np.uint8)
    image[fitting.top : fitting.top + height, fitting.left : fitting.left + width] = resized
    return image
