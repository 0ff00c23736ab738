"""Camera calibrations as ROS's CameraInfo, without a header: the writer adds it.

They come from the YAML file of ROS's camera_calibration, from a field of view, or from a
Cityscapes camera file. Pixel centres lie at integer coordinates.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emu_core.bags.errors import BagError
from emu_core.bags.types import CameraInfo, Header, RegionOfInterest, Time
from emu_core.data.cityscapes import OFFICIAL_SIZE, CameraFile, is_of_official_size
from emu_core.files import lfs_problem

_ASPECT_TOLERANCE = 0.01
"""Relative; resizing rounds to integer sizes."""


def resized(
    camera: CameraInfo, width: int, height: int, stored: tuple[int, int] | None = None
) -> CameraInfo:
    """Calibration of the same image at another size.

    Args:
        camera: The calibration.
        width: Width of the image.
        height: Height of the image.
        stored: Its (width, height) before its pixels were made square; the calibration may be for
            that shape as well.

    Raises:
        ValueError: The aspect ratio differs: the image was cropped by an unknown amount.
    """
    scale_x, scale_y = width / camera.width, height / camera.height
    fits = [
        math.isclose(w / camera.width, h / camera.height, rel_tol=_ASPECT_TOLERANCE)
        for w, h in filter(None, ((width, height), stored))
    ]
    if not any(fits):
        raise ValueError(
            f"it is for {camera.width}x{camera.height}, but the image is {width}x{height}, which "
            "has another aspect ratio"
        )
    # A coordinate c becomes (c + ½)·s − ½.
    scaling = np.diag([scale_x, scale_y, 1.0])
    scaling[:2, 2] = scale_x / 2 - 0.5, scale_y / 2 - 0.5
    k, p = (scaling @ matrix.reshape(3, -1) for matrix in (camera.k, camera.p))
    return replace(camera, width=width, height=height, k=k.ravel(), p=p.ravel())


def pinhole(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> CameraInfo:
    """Calibration without distortion; focal lengths and principal point in pixels."""
    k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    p = np.hstack([k, np.zeros((3, 1))])
    return _camera_info(width, height, "plumb_bob", np.zeros(5), k, np.eye(3), p)


def from_field_of_view(width: int, height: int, degrees: float) -> CameraInfo:
    """Pinhole calibration with square pixels from the horizontal field of view."""
    focal = width / (2 * math.tan(math.radians(degrees) / 2))
    return pinhole(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def from_cityscapes(camera: CameraFile, shape: tuple[int, int], path: Path) -> CameraInfo:
    """Calibration of an image of `shape` (H, W) from its Cityscapes camera file at `path`.

    Raises:
        DataError: The file fits neither this image nor the official one that it was resized from.
    """
    official = is_of_official_size(camera, shape, path)
    height, width = OFFICIAL_SIZE if official else shape
    original = pinhole(width, height, camera.fx, camera.fy, camera.u0, camera.v0)
    return resized(original, shape[1], shape[0])


def read_calibration(path: str | Path) -> CameraInfo:
    """Read a YAML file in the format of ROS's camera_calibration and camera_info_manager.

    Raises:
        BagError: The file cannot be read or has another format.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if problem := lfs_problem(Path(path)):
        raise BagError(problem)
    try:
        content = YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
        result = _camera_info(
            int(content["image_width"]),
            int(content["image_height"]),
            str(content["distortion_model"]),
            _numbers(content["distortion_coefficients"], None),
            _numbers(content["camera_matrix"], 9),
            _numbers(content["rectification_matrix"], 9),
            _numbers(content["projection_matrix"], 12),
        )
    except OSError as error:
        raise BagError(f"cannot read the calibration {path}: {error.strerror}") from error
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        problem = f"is not a calibration file of ROS's camera_calibration ({reason})"
        raise BagError(f"{path} {' '.join(problem.split())}") from error
    if result.width < 1 or result.height < 1 or not (result.k[0] > 0 and result.k[4] > 0):
        raise BagError(f"{path}: image size and focal lengths must be positive")
    return result


def _camera_info(width: int, height: int, model: str, *matrices: ArrayLike) -> CameraInfo:
    d, k, r, p = (np.array(matrix, float).ravel() for matrix in matrices)
    header, no_roi = Header(Time(0, 0), ""), RegionOfInterest(0, 0, 0, 0, False)
    return CameraInfo(header, height, width, model, d, k, r, p, 0, 0, no_roi)


def _numbers(matrix: Any, count: int | None) -> list[float]:
    """The finite numbers of one matrix of the file; `count` of them unless None."""
    result = [float(value) for value in matrix["data"]]
    if count not in (None, len(result)) or not all(map(math.isfinite, result)):
        raise ValueError(f"expected {count or 'finite'} numbers, but got {result}")
    return result
