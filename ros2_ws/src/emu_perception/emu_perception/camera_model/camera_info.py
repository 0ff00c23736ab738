"""Camera matrices that follow their image: through binning, region of interest and resizing.

Pixel centres lie at whole numbers (sensor_msgs and OpenCV agree), so scaling an axis by s takes a
coordinate c to (c + ½)·s − ½, and a matrix K to S·K with

        ⎡ s_x  0   ½·s_x − ½ − offset_x ⎤
    S = ⎢ 0   s_y  ½·s_y − ½ − offset_y ⎥ .
        ⎣ 0    0            1           ⎦

Distortion coefficients and R act on coordinates free of pixels and stay. Works on any object with
the fields of sensor_msgs/CameraInfo; imports no ROS.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SAME_SHAPE = 0.01
"""Scales of both axes up to so far apart, an image is taken for resized, not for cut."""


class CameraInfoError(ValueError):
    """A camera_info that does not describe the image; `kind` groups the reasons."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def scaled(
    camera_info: Any,
    scale_x: float,
    scale_y: float,
    offset_x: float,
    offset_y: float,
    width: int,
    height: int,
) -> Any:
    """The CameraInfo of an image resized by `scale_*` and then cut at `offset_*` (in its pixels).

    A new message with the same header and D, with K and P for a `width` × `height` image, and with
    ROI and binning reset; those of `camera_info` are applied first.
    """
    by_x, by_y, x, y = _to_actual(camera_info)
    transform = _transform(scale_x, scale_y, offset_x, offset_y) @ _transform(by_x, by_y, x, y)
    result = type(camera_info)()
    result.header = camera_info.header
    result.width, result.height = width, height
    result.distortion_model = camera_info.distortion_model
    result.d = camera_info.d
    result.r = camera_info.r
    result.k = (transform @ np.reshape(camera_info.k, (3, 3))).ravel()
    result.p = (transform @ np.reshape(camera_info.p, (3, 4))).ravel()
    return result


def for_image(camera_info: Any, width: int, height: int) -> Any:
    """The CameraInfo of a `width` × `height` image of that camera, ROI and binning reset.

    An image that was resized on its way, with its shape kept, still gets the right matrices.

    Raises
    ------
    CameraInfoError
        Kind `uncalibrated` (K is zero, or none), or `size`: the image is of another shape, and
        nobody can tell what was cut off.
    """
    if focal_lengths(camera_info) is None:
        raise CameraInfoError("uncalibrated", "camera_info has no focal length (K is zero)")
    if not np.isfinite([*camera_info.k, *camera_info.p]).all():
        raise CameraInfoError("uncalibrated", "camera_info's K or P holds no finite numbers")
    described = image_size(camera_info)
    # Zero means that the driver left it out; K is the image's then.
    scale_x, scale_y = (
        actual / said if said else 1.0
        for actual, said in zip((width, height), described, strict=True)
    )
    if not math.isclose(scale_x, scale_y, rel_tol=SAME_SHAPE):
        raise CameraInfoError(
            "size",
            f"camera_info describes a {described[0]}x{described[1]} image, and the image is "
            f"{width}x{height}: it was cut or stretched in between, so the lens is unknown. Remap "
            "camera_info to the topic that belongs to this image",
        )
    return scaled(camera_info, scale_x, scale_y, 0.0, 0.0, width, height)


def image_size(camera_info: Any) -> tuple[int, int]:
    """(width, height) of the image that a CameraInfo describes, after ROI and binning."""
    roi = camera_info.roi
    width = roi.width or camera_info.width
    height = roi.height or camera_info.height
    return width // max(1, camera_info.binning_x), height // max(1, camera_info.binning_y)


def focal_lengths(camera_info: Any) -> tuple[float, float] | None:
    """(fx, fy) in pixels of the image that is described; None for an uncalibrated camera."""
    fx, fy = float(camera_info.k[0]), float(camera_info.k[4])
    if not (0 < fx < math.inf and 0 < fy < math.inf):
        return None
    by_x, by_y, _, _ = _to_actual(camera_info)
    return fx * by_x, fy * by_y


def _to_actual(camera_info: Any) -> tuple[float, float, float, float]:
    """Scales and offsets from the full sensor, which K and P describe, to the image sent.

    The ROI counts in full pixels and comes first, binning second.
    """
    by_x = 1 / max(1, camera_info.binning_x)
    by_y = 1 / max(1, camera_info.binning_y)
    return by_x, by_y, camera_info.roi.x_offset * by_x, camera_info.roi.y_offset * by_y


def _transform(scale_x: float, scale_y: float, offset_x: float, offset_y: float) -> np.ndarray:
    return np.array(
        [
            [scale_x, 0.0, 0.5 * scale_x - 0.5 - offset_x],
            [0.0, scale_y, 0.5 * scale_y - 0.5 - offset_y],
            [0.0, 0.0, 1.0],
        ]
    )
