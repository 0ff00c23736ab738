"""Images straightened before the network sees them, for lenses that it was not trained with."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from .distortion import calibration, straightening_maps


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
