"""Lens distortion: the ray of each pixel, and rectified images.

The distortion models of sensor_msgs/distortion_models.hpp are computed by OpenCV. Results are slow
to compute and needed once per camera, so they are cached by the numbers in camera_info.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from emu_core.bags.camera_info import (
    MAX_RAY,
    CameraInfoError,
    of_rectified_image,
    rectified_matrix,
)

if TYPE_CHECKING:
    from emu_core.bags.types import CameraInfo

PLUMB_BOB, RATIONAL, EQUIDISTANT = "plumb_bob", "rational_polynomial", "equidistant"
_BROWN = {"plumbbob", "rationalpolynomial"}
_FISHEYE = {"equidistant", "fisheye", "kannalabrandt", "kannalabrandt4"}
"""Names of the two families of models in drivers, without case and separators."""

_COEFFICIENTS = {PLUMB_BOB: (4, 5), RATIONAL: (8, 12, 14), EQUIDISTANT: (4,)}
"""Model -> numbers of coefficients in OpenCV; a long D has thin prisms and a tilted sensor."""

_CACHED_CAMERAS = 8
_MAX_ERROR_PX = 0.05
_ITERATIONS = 100  # most pixels need ten, the corners of strong lenses more
# OpenCV 4 has the function with these criteria under a separate name.
_undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)


@dataclass(frozen=True)
class CameraModel:
    """The numbers of a CameraInfo that determine where a point is seen."""

    width: int
    height: int
    model: str
    k: tuple[float, ...]
    d: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]

    @property
    def distorted(self) -> bool:
        """Whether straight lines are bent, as by an equidistant lens even without coefficients."""
        return self.model == EQUIDISTANT or any(self.d)

    def matrix(self, rectified: bool = False) -> np.ndarray:
        """Return K, or the part of P that replaces it in rectified images; float64 (3, 3)."""
        return rectified_matrix(self) if rectified else np.reshape(self.k, (3, 3))


def is_equidistant(name: str) -> bool:
    """Return whether a distortion model is the equidistant one, under any of its names."""
    return _plain(name) in _FISHEYE


def camera_model(camera_info: CameraInfo) -> CameraModel:
    """Return the camera model of a CameraInfo, whose ROI and binning are ignored.

    Drivers call the models by several names and append zeros to D. So the number of coefficients
    decides between plumb_bob and rational_polynomial, and D of zeros is a pinhole under any name
    but those of the equidistant model.

    Raises:
        CameraInfoError: of kind `distortion`: unknown model, or wrong coefficients.
    """
    name = camera_info.distortion_model
    k, d, r, p = (tuple(map(float, getattr(camera_info, field))) for field in "kdrp")
    if is_equidistant(name):
        models: tuple[str, ...] = (EQUIDISTANT,)
    elif not any(d):
        models = (PLUMB_BOB,)
    elif _plain(name) in _BROWN:
        models = (PLUMB_BOB, RATIONAL)
    else:
        raise CameraInfoError(
            "distortion",
            f"unsupported distortion model {name!r} with D {list(d)}: calibrate with "
            f"{', '.join(_COEFFICIENTS)} (or: fisheye, kannala_brandt), or rectify images",
        )
    if not any(d):  # any number of zeros, which OpenCV does not accept
        d = (0.0,) * _COEFFICIENTS[models[0]][-1]
    sizes = {size: model for model in models for size in _COEFFICIENTS[model]}
    size = next((n for n in sizes if n <= len(d) and not any(d[n:])), None)
    if size is None or not all(map(math.isfinite, d)):
        raise CameraInfoError(
            "distortion",
            f"distortion model {name!r} takes {' or '.join(map(str, sizes))} finite coefficients, "
            f"but camera_info has {list(d)}",
        )
    return CameraModel(camera_info.width, camera_info.height, sizes[size], k, d[:size], r, p)


def _plain(name: str) -> str:
    """A name in lower case without separators: `Plumb Bob` and `plumb-bob` are `plumbbob`."""
    return re.sub("[^a-z0-9]", "", name.lower())


class Rays(NamedTuple):
    """The ray of each pixel through (x, y, 1), float32 (H, W), at most `MAX_RAY`.

    `known` is False for pixels without a ray in front of the lens, whose x and y are NaN; None if
    there are none.
    """

    x: np.ndarray
    y: np.ndarray
    known: np.ndarray | None


@lru_cache(maxsize=_CACHED_CAMERAS)
def rays(camera: CameraModel) -> Rays:
    """Return the rays of an image."""
    k = camera.matrix()
    columns, rows = np.meshgrid(np.arange(float(camera.width)), np.arange(float(camera.height)))
    if not camera.distorted:
        x, y = (columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1]
        return Rays(x.astype(np.float32), y.astype(np.float32), None)
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)  # (H·W, 1, 2)
    points = _undistorted(camera, pixels)  # (H·W, 1, 2)
    with np.errstate(all="ignore"):
        error_px = np.abs(_projected(camera, points) - pixels).max(axis=(1, 2))
        known = (np.abs(points) <= MAX_RAY).all(axis=(1, 2)) & (error_px < _MAX_ERROR_PX)
    points[~known] = np.nan
    x, y = points[:, 0].T.reshape(2, *columns.shape).astype(np.float32)
    return Rays(x, y, None if known.all() else known.reshape(columns.shape))


def _undistorted(camera: CameraModel, pixels: np.ndarray) -> np.ndarray:
    """Points at distance 1, (N, 1, 2), that are seen at these pixels."""
    k, d = camera.matrix(), np.array(camera.d)
    if camera.model == EQUIDISTANT:
        return cv2.fisheye.undistortPoints(pixels, k, d)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ITERATIONS, 1e-6)
    return _undistort(pixels, k, d, R=np.eye(3), P=np.eye(3), criteria=criteria)


def _projected(camera: CameraModel, points: np.ndarray) -> np.ndarray:
    """Pixels, (N, 1, 2), at which points at distance 1 are seen."""
    zeros = np.zeros(3)
    points = cv2.convertPointsToHomogeneous(points)  # (N, 1, 3)
    project = cv2.fisheye.projectPoints if camera.model == EQUIDISTANT else cv2.projectPoints
    return project(points, zeros, zeros, camera.matrix(), np.array(camera.d))[0].reshape(-1, 1, 2)


@lru_cache(maxsize=_CACHED_CAMERAS)
def rectification_maps(camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the maps for cv2.remap from an image to its rectified image of the same size."""
    rotation = np.reshape(camera.r, (3, 3)) if any(camera.r) else np.eye(3)  # an unset R is zero
    module = cv2.fisheye if camera.model == EQUIDISTANT else cv2
    k, target, size = camera.matrix(), camera.matrix(True), (camera.width, camera.height)
    return module.initUndistortRectifyMap(
        k, np.array(camera.d), rotation, target, size, cv2.CV_16SC2
    )


def rectified(rgb: np.ndarray, camera_info: CameraInfo) -> tuple[np.ndarray, CameraInfo]:
    """Rectify an image, uint8 (h, w, 3), with P of its CameraInfo (see `camera_info.for_image`).

    Returns:
        The image, of the same size, black where the lens saw nothing; and its CameraInfo, see
        `camera_info.of_rectified_image`.

    Raises:
        CameraInfoError: see `camera_model`.
    """
    maps = rectification_maps(camera_model(camera_info))
    return cv2.remap(rgb, *maps, cv2.INTER_LINEAR), of_rectified_image(camera_info)
