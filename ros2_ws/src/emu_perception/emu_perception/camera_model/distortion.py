"""What lenses do to straight lines: a ray per pixel, and maps that straighten images.

Distortion models are those of sensor_msgs/distortion_models.hpp, computed by OpenCV. Both take a
moment and need doing once per camera: they are remembered by the numbers in camera_info. Works on
any object with the fields of sensor_msgs/CameraInfo; imports no ROS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from emu_perception.camera_model.camera_info import CameraInfoError

PINHOLE, EQUIDISTANT = "", "equidistant"
COEFFICIENTS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),  # with thin prisms and a tilted sensor, as OpenCV goes on
    EQUIDISTANT: (4,),
    PINHOLE: (),  # what simulated cameras leave empty
}
"""Distortion model -> how many coefficients it may have; without any, an image is straight."""

CAMERAS = 8
"""So many calibrations are remembered."""

_EXACT_TO_PX = 0.05
_ITERATIONS = 100  # most pixels take ten, strong lenses more at their corners
# OpenCV 4 has this under a name of its own, and 5 iterations under the other's.
_undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)


@dataclass(frozen=True)
class Calibration:
    """The numbers of a CameraInfo: what decides where a point is seen."""

    width: int
    height: int
    model: str
    k: tuple[float, ...]
    d: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]

    @property
    def distorted(self) -> bool:
        """Whether lines are bent; an equidistant lens does so without coefficients, too."""
        return self.model == EQUIDISTANT or any(self.d)

    def matrix(self, rectified: bool = False) -> np.ndarray:
        """K, or the part of P that takes its place in rectified images; float64 (3, 3)."""
        if rectified and self.p[0] > 0 and self.p[5] > 0:  # an uncalibrated P is zero
            return np.reshape(self.p, (3, 4))[:, :3]
        return np.reshape(self.k, (3, 3))


def calibration(camera_info: Any) -> Calibration:
    """The numbers of a CameraInfo, whose ROI and binning are not looked at.

    Raises
    ------
    CameraInfoError
        Kind `distortion`: an unknown model, or coefficients that do not fit it; kind
        `uncalibrated`: no focal length.
    """
    model = camera_info.distortion_model
    k, d, r, p = (
        tuple(map(float, field))
        for field in (camera_info.k, camera_info.d, camera_info.r, camera_info.p)
    )
    if model not in COEFFICIENTS:
        raise CameraInfoError(
            "distortion",
            f"camera_info has the distortion model {model!r}, known are "
            f"{', '.join(filter(None, COEFFICIENTS))}: calibrate for one of these, or rectify the "
            "images and give the camera_info of the rectified ones",
        )
    fits = len(d) in COEFFICIENTS[model] and all(map(math.isfinite, d))
    if not fits and (any(d) or model == EQUIDISTANT):
        raise CameraInfoError(
            "distortion",
            f"camera_info has the distortion coefficients {list(d)}, and "
            f"{model or 'no distortion model'} takes {COEFFICIENTS[model] or 'none'}",
        )
    if not any(d) and model != EQUIDISTANT:
        d = (0.0,) * 5  # of whatever length they were: OpenCV would mind
    if not all(map(math.isfinite, (*k, *p))) or not (k[0] > 0 and k[4] > 0):
        raise CameraInfoError("uncalibrated", "camera_info has no focal length (K is zero)")
    return Calibration(camera_info.width, camera_info.height, model, k, d, r, p)


@dataclass(frozen=True, eq=False)
class Rays:
    """Where each pixel looks: at `x` and `y` metres aside, float32 (H, W), 1 metre ahead.

    `known` is False for pixels that see nothing in front of the lens, as far as its coefficients
    tell; None where there are none such.
    """

    x: np.ndarray
    y: np.ndarray
    known: np.ndarray | None


@lru_cache(maxsize=CAMERAS)
def rays(camera: Calibration, rectified: bool = False) -> Rays:
    """The rays of an image of this camera, or of its rectified image.

    In the frame of the image itself: R, which turns it into the rectified one's, is not applied.
    """
    k = camera.matrix(rectified)
    columns, rows = np.meshgrid(np.arange(float(camera.width)), np.arange(float(camera.height)))
    if rectified or not camera.distorted:
        x, y = (columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1]
        return Rays(x.astype(np.float32), y.astype(np.float32), None)
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
    ahead = _undistorted(camera, pixels)
    with np.errstate(all="ignore"):
        off = np.abs(_projected(camera, ahead) - pixels).max(axis=(1, 2))
        known = np.isfinite(ahead).all(axis=(1, 2)) & (off < _EXACT_TO_PX)
    shape = camera.height, camera.width
    x, y = (ahead[:, 0, axis].reshape(shape).astype(np.float32) for axis in (0, 1))
    return Rays(x, y, None if known.all() else known.reshape(shape))


@lru_cache(maxsize=CAMERAS)
def straightening_maps(camera: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Maps for cv2.remap, from this camera's image to its rectified one, of the same size."""
    k, r = np.reshape(camera.k, (3, 3)), np.reshape(camera.r, (3, 3))
    # Zeros are what an unset R holds.
    geometry = (r if r.any() else np.eye(3), camera.matrix(rectified=True))
    size = (camera.width, camera.height)
    if camera.model == EQUIDISTANT:
        coefficients = np.array(camera.d)
        return cv2.fisheye.initUndistortRectifyMap(k, coefficients, *geometry, size, cv2.CV_16SC2)
    return cv2.initUndistortRectifyMap(k, np.array(camera.d), *geometry, size, cv2.CV_16SC2)


def _undistorted(camera: Calibration, pixels: np.ndarray) -> np.ndarray:
    """Points on the plane one metre ahead, (N, 1, 2), that are seen at these pixels."""
    k, d = camera.matrix(), np.array(camera.d)
    if camera.model == EQUIDISTANT:
        return cv2.fisheye.undistortPoints(pixels, k, d)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ITERATIONS, 1e-6)
    return _undistort(pixels, k, d, R=np.eye(3), P=np.eye(3), criteria=criteria)


def _projected(camera: Calibration, points: np.ndarray) -> np.ndarray:
    """Pixels, (N, 1, 2), at which points on the plane one metre ahead are seen."""
    here = np.zeros(3)
    solid = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
    k, d = camera.matrix(), np.array(camera.d)
    project = cv2.fisheye.projectPoints if camera.model == EQUIDISTANT else cv2.projectPoints
    return project(solid, here, here, k, d)[0].reshape(-1, 1, 2)


def rectified(rgb: np.ndarray, camera_info: Any) -> tuple[np.ndarray, Any]:
    """An image as a pinhole camera would have taken it, of the same size, and its camera_info.

    What P, the calibration's choice, shows of places that the lens did not see is black. The
    CameraInfo is a new message with P's numbers in K, without distortion and without R: its frame
    is that of the rectified image. The first image of a camera takes a moment, for its maps.

    Parameters
    ----------
    rgb : uint8 (h, w, 3).
    camera_info : of this very image (`camera_info.for_image`), ROI and binning reset.

    Raises
    ------
    CameraInfoError
        The lens is unknown: see `distortion.calibration`.
    """
    camera = calibration(camera_info)
    if rgb.shape[:2] != (camera.height, camera.width):
        raise ValueError(
            f"Expected argument `rgb` to be of the size in camera_info, "
            f"{camera.width}x{camera.height}, but got {rgb.shape[1]}x{rgb.shape[0]}"
        )
    image = cv2.remap(rgb, *straightening_maps(camera), cv2.INTER_LINEAR)
    return image, _pinhole(camera_info, camera.matrix(rectified=True))


def _pinhole(camera_info: Any, matrix: np.ndarray) -> Any:
    result = type(camera_info)()
    result.header = camera_info.header
    result.width, result.height = camera_info.width, camera_info.height
    result.distortion_model = "plumb_bob"
    result.d = [0.0] * 5
    result.r = np.eye(3).ravel()
    result.k = matrix.ravel()
    result.p = np.hstack([matrix, np.reshape(camera_info.p, (3, 4))[:, 3:]]).ravel()
    return result
