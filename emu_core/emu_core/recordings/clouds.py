"""Depth from point clouds: read the points, project them, and remove those that are hidden."""

from __future__ import annotations

import math

import cv2
import numpy as np

from emu_core.bags.images import UnsupportedImage
from emu_core.bags.types import PointCloud2

_FLOATS = {7: "f4", 8: "f8"}  # PointField.FLOAT32, FLOAT64
_NEAREST = 0.05
"""Points nearer to the plane of the camera than this have no useful pixel, metres."""

_MARGIN = 1.05
"""A point is hidden if a point in front of it is nearer by more than 5 %."""

_GRAZING_DEGREES = 1.0
"""Surfaces seen at a smaller angle than this may lose points. A road at 90 m is seen at 1°."""

_WIDEST_WINDOW = 1 / 32
"""Largest radius of the window in which points hide others, in widths of the image."""


def cloud_points(message: PointCloud2) -> np.ndarray:
    """Finite points of a cloud in its own frame, float64 (N, 3).

    Raises:
        UnsupportedImage: The cloud has no x, y, z of 32 or 64 bits, or its sizes contradict.
    """
    fields = {field.name: field for field in message.fields}
    found = [fields[name] for name in "xyz" if name in fields]
    if len(found) < 3 or any(field.datatype not in _FLOATS for field in found):
        problem = f"point cloud with the fields {', '.join(fields)}: no floating x, y and z"
        raise UnsupportedImage("encoding", problem)
    height, width = message.height, message.width
    step, row_step, size = message.point_step, message.row_step, len(message.data)
    order = ">" if message.is_bigendian else "<"
    ends = [field.offset + int(_FLOATS[field.datatype][1]) for field in found]
    if height * width == 0:
        return np.empty((0, 3))
    if (
        max(ends) > step
        or (row_step < width * step and height > 1)
        or ((height - 1) * row_step + width * step > size)
    ):
        problem = f"point cloud of {width}x{height} points, {step} bytes each, has {size} bytes"
        raise UnsupportedImage("data", problem)
    data = np.ascontiguousarray(message.data)
    columns = [
        np.ndarray(
            (height, width), order + _FLOATS[f.datatype], data, f.offset, (row_step, step)
        ).ravel()
        for f in found
    ]
    points = np.stack(columns, axis=1).astype(np.float64)
    return points[np.isfinite(points).all(axis=1)]


def project(points: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Depth of the nearest point in each pixel, metres, float32 (height, width), 0 for none.

    Args:
        points: In the camera's optical frame (z forward), (N, 3).
        matrix: Camera matrix, (3, 3).
        width: Width of the image.
        height: Height of the image.
    """
    depth = np.zeros((height, width), np.float32)
    points = points[points[:, 2] > _NEAREST]
    pixels = points @ matrix.T
    with np.errstate(over="ignore"):
        u, v = np.rint(pixels[:, :2] / pixels[:, 2:]).T
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    u, v, z = u[inside].astype(int), v[inside].astype(int), points[inside, 2]
    order = np.argsort(-z)  # of several values for one pixel, the last is kept
    depth[v[order], u[order]] = z[order]
    return depth


def remove_hidden(depth: np.ndarray, focal: float) -> np.ndarray:
    """Remove points that the camera cannot see, because it is not where the laser is.

    Between the points of a near surface, points of surfaces behind it are projected. A point is
    removed if within d pixels there is one that is nearer by more than 5 %, plus what a surface
    seen at 1° gains over d pixels: otherwise the road would lose its points far away. d goes up to
    half the typical gap between the points, so that no gap of a near surface stays open.

    Args:
        depth: Projected points, metres, float32 (H, W), 0 for none.
        focal: Focal length, pixels.

    Returns:
        The depth without the hidden points.
    """
    seen = depth > 0
    if not seen.any():
        return depth
    nearest = np.where(seen, depth, np.float32(np.inf))
    hidden = np.zeros_like(seen)
    slope = 1 / (focal * math.tan(math.radians(_GRAZING_DEGREES)))
    kernel = np.ones((3, 3), np.uint8)
    for distance in range(1, _window_radius(seen) + 1):
        nearest = cv2.erode(nearest, kernel)  # minimum within `distance`
        hidden |= depth / np.float32(_MARGIN + distance * slope) > nearest
    return np.where(hidden, np.float32(0), depth)


def _window_radius(seen: np.ndarray) -> int:
    """Twice the median distance of pixels to the nearest point: half the gap between rings.

    Pixels far from all points, as in the sky, do not count.
    """
    distances = cv2.distanceTransform((~seen).astype(np.uint8), cv2.DIST_C, 3)
    limit = max(1.0, seen.shape[1] * _WIDEST_WINDOW / 2)
    return max(1, math.ceil(2 * float(np.median(distances[distances <= limit]))))
