"""Camera matrices of images after binning, region of interest (ROI) and resizing.

Pixel centres are at integer coordinates, in sensor_msgs as in OpenCV. So scaling an axis by s maps
a coordinate c to (c + ½)·s − ½, and a matrix K to S·K with

        ⎡ s_x  0   ½·s_x − ½ − offset_x ⎤
    S = ⎢ 0   s_y  ½·s_y − ½ − offset_y ⎥ .
        ⎣ 0    0            1           ⎦

Distortion coefficients and R apply to normalised coordinates and do not change. The functions
accept messages of ROS's own classes and those of `emu_core.bags.types`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from emu_core.bags.distortion import CameraModel
    from emu_core.bags.types import CameraInfo

_SAME_SHAPE = 0.01
"""Largest relative difference between the scales of both axes of a resized image."""

_RECTIFIED = re.compile("(?<![A-Za-z])rect(?!ang)|Rect(?!ang)")

_MAX_BINNING = 4
"""Cameras average at most so many pixels along an axis; smaller images are resized ones."""

MAX_RAY = 1e4
"""Largest x or y of a ray through (x, y, 1): beyond it, a pixel looks to the side."""

_MAX_NUMBER = 1e9
"""No number of K, R or P is larger, in pixels, unless camera_info is malformed."""

_CORNER, _EDGE = 0.3, 0.9
"""A principal point nearer to a corner, relative to the size, belongs to another size."""


class CameraInfoError(ValueError):
    """An unusable camera_info; its kind is uncalibrated, size or distortion."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def scaled(
    camera_info: CameraInfo,
    scale: tuple[float, float],
    offset: tuple[float, float],
    size: tuple[int, int],
) -> CameraInfo:
    """Return the CameraInfo of an image after resizing and cropping, without ROI and binning.

    Args:
        camera_info: of the image before; its ROI and binning are applied first.
        scale: resizing factors of x and y.
        offset: columns cropped at the left and rows cropped at the top, after resizing.
        size: width and height of the result.
    """
    transform = _transform(scale, offset) @ _transform(*_sensor_to_image(camera_info))
    return changed(
        camera_info,
        width=size[0],
        height=size[1],
        k=(transform @ np.reshape(camera_info.k, (3, 3))).ravel(),
        p=(transform @ np.reshape(camera_info.p, (3, 4))).ravel(),
    )


def changed(camera_info: CameraInfo, **fields: Any) -> CameraInfo:
    """Return a copy without ROI and binning, with the given values in some fields."""
    names = ("header", "width", "height", "distortion_model", "d", "r", "k", "p")
    values = {name: fields.get(name, getattr(camera_info, name)) for name in names}
    no_roi = type(camera_info.roi)(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return type(camera_info)(**values, binning_x=0, binning_y=0, roi=no_roi)


def for_image(camera_info: CameraInfo, width: int, height: int) -> CameraInfo:
    """Return the CameraInfo of an image of this size, without ROI and binning.

    The matrices are scaled if the image was resized with its aspect ratio. In an image of the
    full size, the ROI and the binning were not applied, whatever camera_info says.

    Raises:
        CameraInfoError: of kind `uncalibrated` (no finite, positive focal length, or a matrix of
            no lens), or of kind `size`: the image has another aspect ratio, so it was cropped in
            an unknown way.
    """
    if focal_lengths(camera_info) is None:
        raise CameraInfoError("uncalibrated", "camera_info has no focal length (K is zero)")
    matrices = np.array([*camera_info.k, *camera_info.r, *camera_info.p], float)
    if not (np.abs(matrices) < _MAX_NUMBER).all():
        raise CameraInfoError(
            "uncalibrated", "K, R or P of camera_info has infinite, NaN or huge elements"
        )
    if (width, height) == (camera_info.width, camera_info.height) != image_size(camera_info):
        camera_info = changed(camera_info)
    described = image_size(camera_info)
    # A driver may leave the size at zero; then K belongs to the image.
    scale = (width / (described[0] or width), height / (described[1] or height))
    if not math.isclose(*scale, rel_tol=_SAME_SHAPE):
        hint = size_hint(camera_info, width, height)
        raise CameraInfoError(
            "size",
            f"camera_info is for a {described[0]}x{described[1]} image, but the image is "
            f"{width}x{height} (cropped or stretched): remap camera_info to the image's own topic"
            f"{hint and f'. {hint}'}",
        )
    result = scaled(camera_info, scale, (0.0, 0.0), (width, height))
    for name, matrix in (("K", np.reshape(result.k, (3, 3))), ("P", rectified_matrix(result))):
        if not _sees(matrix, width, height):
            raise CameraInfoError(
                "uncalibrated",
                f"no lens has the {name} of camera_info: fx {matrix[0, 0]:g}, fy "
                f"{matrix[1, 1]:g}, cx {matrix[0, 2]:g}, cy {matrix[1, 2]:g} px in a "
                f"{width}x{height} image",
            )
    return result


def _sees(matrix: np.ndarray, width: int, height: int) -> bool:
    """Whether the rays of the corners and the angles of the pixels are those of a lens."""
    focal, center = np.diag(matrix)[:2], matrix[:2, 2]
    size = np.array([width, height])
    farthest = np.maximum(np.abs(center), np.abs(size - 1 - center))
    return bool((farthest <= MAX_RAY * focal).all() and (focal <= MAX_RAY * size).all())


def size_hint(camera_info: CameraInfo, width: int, height: int) -> str:
    """Return what is probably wrong with ROI or binning for an image of this size; or empty."""
    size, full = (width, height), (camera_info.width, camera_info.height)
    described = image_size(camera_info)
    bins = max(1, camera_info.binning_x), max(1, camera_info.binning_y)
    if not all(full) or not all(described):
        return ""
    center = camera_info.k[2] / full[0], camera_info.k[5] / full[1]
    if min(center) > _EDGE or (max(center) < _CORNER and min(center) > 0):
        return (
            f"The principal point of K does not fit the {full[0]}x{full[1]} of camera_info: K is "
            "probably for another binning"
        )
    if size == described:
        return ""
    if max(bins) > 1:
        return (
            f"camera_info reports {full[0]}x{full[1]} and binning {bins[0]}x{bins[1]}: it should "
            "have the size of the sensor, and a binning only if the images are binned"
        )
    if size == full:
        return "camera_info reports a ROI, but the image shows the full sensor"
    x, y = described[0] // width, described[1] // height
    exact = min(x, y) > 0 and size == (described[0] // x, described[1] // y)
    if exact and 1 < max(x, y) <= _MAX_BINNING:
        return f"If the camera bins pixels, camera_info should report binning {x}x{y}"
    return ""


def rectified_matrix(camera_info: CameraInfo | CameraModel) -> np.ndarray:
    """Return the part of P that replaces K in rectified images, or K without P; float (3, 3)."""
    p = np.reshape(camera_info.p, (3, 4))
    if p[0, 0] > 0 and p[1, 1] > 0:  # an uncalibrated P is zero
        return p[:, :3]
    return np.reshape(camera_info.k, (3, 3))


def of_rectified_image(camera_info: CameraInfo) -> CameraInfo:
    """Return the CameraInfo of the rectified image, from that of the raw image (`for_image`).

    It has the numbers of P in K, no distortion and no R: it is in the rectified image's frame.
    """
    k = rectified_matrix(camera_info)
    return changed(
        camera_info,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        r=np.eye(3).ravel(),
        k=k.ravel(),
        p=np.hstack([k, np.reshape(camera_info.p, (3, 4))[:, 3:]]).ravel(),
    )


def is_rectified_name(topic: str) -> bool:
    """Return whether images of a topic are rectified by its name, as image_rect and rect/image.

    image_proc publishes them beside the camera_info of the raw images.
    """
    *before, name = topic.removesuffix("/compressed").split("/")
    raw = "raw" in name.lower()
    return any(_RECTIFIED.search(part) for part in (name, *([] if raw else before[-1:])))


def image_size(camera_info: CameraInfo) -> tuple[int, int]:
    """Return (width, height) of the image that a CameraInfo describes, after ROI and binning."""
    roi = camera_info.roi
    width = roi.width or camera_info.width
    height = roi.height or camera_info.height
    return width // max(1, camera_info.binning_x), height // max(1, camera_info.binning_y)


def focal_lengths(camera_info: CameraInfo) -> tuple[float, float] | None:
    """Return (fx, fy) in pixels of the described image; None for an uncalibrated camera."""
    fx, fy = float(camera_info.k[0]), float(camera_info.k[4])
    if not (0 < fx < math.inf and 0 < fy < math.inf):
        return None
    (scale_x, scale_y), _ = _sensor_to_image(camera_info)
    return fx * scale_x, fy * scale_y


def _sensor_to_image(camera_info: CameraInfo) -> tuple[tuple[float, float], tuple[float, float]]:
    """Scale and offset from the full sensor, which K, P and the ROI describe, to the image."""
    x, y = 1 / max(1, camera_info.binning_x), 1 / max(1, camera_info.binning_y)
    return (x, y), (camera_info.roi.x_offset * x, camera_info.roi.y_offset * y)


def _transform(scale: tuple[float, float], offset: tuple[float, float]) -> np.ndarray:
    """The matrix S of the module's docstring."""
    diagonal = np.diag([*scale, 1.0])
    diagonal[:2, 2] = 0.5 * np.array(scale) - 0.5 - np.array(offset)
    return diagonal
