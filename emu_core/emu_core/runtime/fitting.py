"""How an image of any size is fitted to a network's fixed size, and what that does to a lens.

Pixel centres lie at whole numbers, so resizing by s takes x to (x + ½)·s − ½. With the part that
is cut off at the left, a pixel column x of the camera's image stands in the maps at

    (x + ½) · scale_x − ½ − offset_x

and a camera matrix follows: fx' = fx · scale_x, cx' = (cx + ½) · scale_x − ½ − offset_x; rows
likewise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

FITS = ("stretch", "letterbox")

PAD_RGB = (124, 116, 104)
"""Letterbox's border: the mean colour of ImageNet, which normalisation takes to about zero."""


@dataclass(frozen=True)
class Fitting:
    """From a camera's image to the network's input, and from there to the maps.

    All sizes are (height, width) in pixels. The image is resized to `resized` and stands at
    (`top`, `left`) in the network's input. The outputs are cut to (`height`, `width`) at
    (`crop_top`, `crop_left`): these are the maps of a Perception, and `scale_*`, `offset_*` lead
    from the camera's pixels to theirs.
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
        """(fx, fy, cx, cy) of the maps, from those of the camera's image."""
        return (
            fx * self.scale_x,
            fy * self.scale_y,
            (cx + 0.5) * self.scale_x - 0.5 - self.offset_x,
            (cy + 0.5) * self.scale_y - 0.5 - self.offset_y,
        )


@lru_cache(maxsize=64)
def fit_image(
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    fit: str = "stretch",
) -> Fitting:
    """Fit an image of `image_size` to a network; all sizes are (height, width).

    `stretch` fills the input and may change the aspect ratio. `letterbox` keeps it (up to the
    rounding to whole pixels, which the scales account for): the image stands in the middle, and
    of the outputs only the pixels that lie wholly inside it are kept.
    """
    if fit == "stretch":
        resized = input_size
    elif fit == "letterbox":
        scale = min(input_size[0] / image_size[0], input_size[1] / image_size[1])
        height, width = (max(1, round(n * scale)) for n in image_size)
        resized = (height, width)
    else:
        raise ValueError(f"Expected argument `fit` to be one of {FITS}, but got {fit!r}")
    rows = _axis(image_size[0], resized[0], input_size[0], output_size[0])
    columns = _axis(image_size[1], resized[1], input_size[1], output_size[1])
    return Fitting(
        image_size=image_size,
        resized=resized,
        top=rows.start,
        left=columns.start,
        crop_top=rows.crop,
        crop_left=columns.crop,
        height=rows.length,
        width=columns.length,
        scale_x=columns.scale,
        scale_y=rows.scale,
        offset_x=columns.offset,
        offset_y=rows.offset,
    )


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
    """`rgb`, uint8 (h, w, 3), at another `size` (height, width); itself where it has that."""
    height, width = size
    if rgb.shape[:2] == (height, width):
        return rgb
    # Area averaging is defined only where both axes shrink.
    shrinks = height <= rgb.shape[0] and width <= rgb.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(rgb, (width, height), interpolation=how)


def fit_pixels(rgb: np.ndarray, fitting: Fitting, input_size: tuple[int, int]) -> np.ndarray:
    """`rgb` at the network's size, uint8 (H, W, 3), contiguous; not copied where it has it."""
    height, width = fitting.resized
    resized = resize(rgb, fitting.resized)
    if (height, width) == input_size:
        return np.ascontiguousarray(resized)
    image = np.empty((*input_size, 3), np.uint8)
    image[:] = PAD_RGB
    image[fitting.top : fitting.top + height, fitting.left : fitting.left + width] = resized
    return image


@dataclass(frozen=True)
class _Axis:
    start: int
    crop: int
    length: int
    scale: float
    offset: float


def _axis(image: int, resized: int, network: int, output: int) -> _Axis:
    """One axis; lengths in pixels. An output pixel spans network/output pixels of the input."""
    start = (network - resized) // 2
    # Whole numbers throughout: ⌈start·output/network⌉ and ⌊(start + resized)·output/network⌋.
    crop = -(-start * output // network)
    end = (start + resized) * output // network
    if end <= crop:  # thinner than one output pixel: keep the one around its middle
        crop = min((2 * start + resized) * output // (2 * network), output - 1)
        end = crop + 1
    return _Axis(
        start=start,
        crop=crop,
        length=end - crop,
        scale=resized / image * output / network,
        offset=crop - start * output / network,
    )
