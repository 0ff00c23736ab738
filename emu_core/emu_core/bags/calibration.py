"""Camera calibration as in ROS: matrices, distortion and the image size that they hold for.

It comes from the YAML file of ROS's camera_calibration, from a field of view, or from a Cityscapes
camera file. Pixel centres lie at integer coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.bags.errors import BagError
from emu_core.data.cityscapes import OFFICIAL_SIZE, CameraFile, is_of_official_size

_ASPECT_TOLERANCE = 0.01
"""Relative; resizing rounds to integer sizes."""


@dataclass(frozen=True)
class CameraCalibration:
    """Calibration of a `width` × `height` image. Fields as in sensor_msgs/CameraInfo."""

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]

    def resized(self, width: int, height: int) -> CameraCalibration:
        """Calibration of the same image at another size.

        Raises:
            ValueError: The aspect ratio differs: the image was cropped by an unknown amount.
        """
        scale_x, scale_y = width / self.width, height / self.height
        if not math.isclose(scale_x, scale_y, rel_tol=_ASPECT_TOLERANCE):
            raise ValueError(
                f"it is for {self.width}x{self.height}, but the image is {width}x{height}, which "
                "has another aspect ratio"
            )
        # A coordinate c becomes (c + ½)·s − ½.
        scaling = np.array(
            [[scale_x, 0, scale_x / 2 - 0.5], [0, scale_y, scale_y / 2 - 0.5], [0, 0, 1]]
        )
        k = scaling @ np.reshape(self.k, (3, 3))
        p = scaling @ np.reshape(self.p, (3, 4))
        return replace(self, width=width, height=height, k=tuple(k.flat), p=tuple(p.flat))


def pinhole(
    width: int, height: int, fx: float, fy: float, cx: float, cy: float
) -> CameraCalibration:
    """Calibration without distortion; focal lengths and principal point in pixels."""
    return CameraCalibration(
        width,
        height,
        "plumb_bob",
        d=(0.0,) * 5,
        k=(fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0),
        r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        p=(fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0),
    )


def from_field_of_view(width: int, height: int, degrees: float) -> CameraCalibration:
    """Pinhole calibration with square pixels from the horizontal field of view."""
    focal = width / (2 * math.tan(math.radians(degrees) / 2))
    return pinhole(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def from_cityscapes(camera: CameraFile, shape: tuple[int, int], path: Path) -> CameraCalibration:
    """Calibration of an image of `shape` (H, W) from its Cityscapes camera file at `path`.

    Raises:
        DataError: The file fits neither this image nor the official one that it was resized from.
    """
    official = is_of_official_size(camera, shape, path)
    height, width = OFFICIAL_SIZE if official else shape
    original = pinhole(width, height, camera.fx, camera.fy, camera.u0, camera.v0)
    return original.resized(shape[1], shape[0])


def read_calibration(path: str | Path) -> CameraCalibration:
    """Read a YAML file in the format of ROS's camera_calibration and camera_info_manager.

    Raises:
        BagError: The file cannot be read or has another format.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
        result = CameraCalibration(
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


def _numbers(matrix: Any, count: int | None) -> tuple[float, ...]:
    """The finite numbers of one matrix of the file; `count` of them unless None."""
    result = tuple(float(value) for value in matrix["data"])
    if count not in (None, len(result)) or not all(map(math.isfinite, result)):
        raise ValueError(f"expected {count or 'finite'} numbers, but got {list(result)}")
    return result
