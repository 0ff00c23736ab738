"""Lens distortion: the ray of each pixel, and rectified images.

The distortion models of sensor_msgs/distortion_models.hpp are computed by OpenCV. Results are slow
to compute and needed once per camera, so they are cached by the numbers in camera_info.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from emu_core.bags.camera_info import CameraInfoError, changed

if TYPE_CHECKING:
    from emu_core.bags.types import CameraInfo

EQUIDISTANT = "equidistant"
COEFFICIENTS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),  # with thin prisms and a tilted sensor, as in OpenCV
    EQUIDISTANT: (4,),
    "": (),  # a pinhole: simulated cameras leave the model empty
}
"""Distortion model -> allowed numbers of coefficients."""

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
        if rectified and self.p[0] > 0 and self.p[5] > 0:  # an uncalibrated P is zero
            return np.reshape(self.p, (3, 4))[:, :3]
        return np.reshape(self.k, (3, 3))


def camera_model(camera_info: CameraInfo) -> CameraModel:
    """Return the camera model of a CameraInfo, whose ROI and binning are ignored.

    Raises:
        CameraInfoError: of kind `distortion`: unknown model, or wrong coefficients.
    """
    model = camera_info.distortion_model
    k, d, r, p = (tuple(map(float, getattr(camera_info, name))) for name in "kdrp")
    if model not in COEFFICIENTS:
        known = ", ".join(filter(None, COEFFICIENTS))
        raise CameraInfoError(
            "distortion",
            f"unsupported distortion model {model!r}: calibrate with {known}, or rectify images",
        )
    valid = len(d) in COEFFICIENTS[model] and all(map(math.isfinite, d))
    if not valid and (any(d) or model == EQUIDISTANT):
        raise CameraInfoError(
            "distortion",
            f"distortion model {model!r} takes {COEFFICIENTS[model] or 'no'} coefficients, but "
            f"camera_info has {list(d)}",
        )
    if not any(d) and model != EQUIDISTANT:
        d = (0.0,) * 5  # OpenCV does not accept every number of zeros
    return CameraModel(camera_info.width, camera_info.height, model, k, d, r, p)


class Rays(NamedTuple):
    """The ray of each pixel through (x, y, 1), float32 (H, W).

    `known` is False for pixels without a ray in front of the lens; None if there are none.
    """

    x: np.ndarray
    y: np.ndarray
    known: np.ndarray | None


@lru_cache(maxsize=_CACHED_CAMERAS)
def rays(camera: CameraModel, rectified: bool = False) -> Rays:
    """Return the rays of an image, or of its rectified image, each in its own frame."""
    k = camera.matrix(rectified)
    columns, rows = np.meshgrid(np.arange(float(camera.width)), np.arange(float(camera.height)))
    if rectified or not camera.distorted:
        x, y = (columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1]
        return Rays(x.astype(np.float32), y.astype(np.float32), None)
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)  # (H·W, 1, 2)
    points = _undistorted(camera, pixels)  # (H·W, 1, 2)
    with np.errstate(all="ignore"):
        error_px = np.abs(_projected(camera, points) - pixels).max(axis=(1, 2))
        known = np.isfinite(points).all(axis=(1, 2)) & (error_px < _MAX_ERROR_PX)
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
        The image, of the same size, black where the lens saw nothing; and a new CameraInfo with
        P's numbers in K, without distortion and without R, in the frame of the rectified image.

    Raises:
        CameraInfoError: see `camera_model`.
    """
    camera = camera_model(camera_info)
    image = cv2.remap(rgb, *rectification_maps(camera), cv2.INTER_LINEAR)
    k = camera.matrix(rectified=True)
    return image, changed(
        camera_info,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        r=np.eye(3).ravel(),
        k=k.ravel(),
        p=np.hstack([k, np.reshape(camera_info.p, (3, 4))[:, 3:]]).ravel(),
    )
