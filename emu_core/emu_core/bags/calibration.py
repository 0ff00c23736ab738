"""A camera's calibration, as ROS keeps it: matrices, distortion, and the size that they are for.

Read from the YAML file that ROS's camera_calibration writes, from a field of view, or from one of
Cityscapes' camera files. Pixel centres lie at whole numbers. No torch, no ROS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.bags.errors import BagError
from emu_core.data.cityscapes import OFFICIAL_SIZE, CameraFile, is_of_official_size

_SAME_SHAPE = 0.01  # of the aspect ratio: resizing rounds to whole pixels


@dataclass(frozen=True)
class Calibration:
    """The fields of sensor_msgs/CameraInfo of that name, for a `width` × `height` image."""

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]

    def resized(self, width: int, height: int) -> Calibration:
        """That of the whole image at another size.

        Raises
        ------
        ValueError
            The size is of another shape: the image was cut, and nobody can tell where.
        """
        if (width, height) == (self.width, self.height):
            return self
        scale_x, scale_y = width / self.width, height / self.height
        if not math.isclose(scale_x, scale_y, rel_tol=_SAME_SHAPE):
            raise ValueError(
                f"it is for {self.width}x{self.height}, and the image is {width}x{height}, of "
                "another shape"
            )
        # A coordinate c becomes (c + ½)·s − ½.
        scaling = np.array(
            [
                [scale_x, 0, scale_x / 2 - 0.5],
                [0, scale_y, scale_y / 2 - 0.5],
                [0, 0, 1],
            ]
        )
        k = scaling @ np.reshape(self.k, (3, 3))
        p = scaling @ np.reshape(self.p, (3, 4))
        return Calibration(
            width, height, self.distortion_model, self.d, tuple(k.flat), self.r, tuple(p.flat)
        )


def pinhole(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> Calibration:
    """That of a camera without distortion; focal lengths and centre in pixels."""
    return Calibration(
        width,
        height,
        "plumb_bob",
        (0.0,) * 5,
        (fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        (fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0),
    )


def from_field_of_view(width: int, height: int, degrees: float) -> Calibration:
    """A pinhole with square pixels that sees so many degrees from its left to its right edge."""
    focal = width / (2 * math.tan(math.radians(degrees) / 2))
    return pinhole(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def from_cityscapes(camera: CameraFile, shape: tuple[int, int], path: Path) -> Calibration:
    """That of an image of `shape` (H,W), from its camera file at `path`; DataError if they differ.

    The file is the image's own, or that of the official image whose resized copy this one is.
    """
    official = is_of_official_size(camera, shape, path)
    height, width = OFFICIAL_SIZE if official else shape
    whole = pinhole(width, height, camera.fx, camera.fy, camera.u0, camera.v0)
    return whole.resized(shape[1], shape[0])


def read_calibration(path: str | Path) -> Calibration:
    """Read a YAML file in the format of ROS's camera_calibration and camera_info_manager.

    Raises
    ------
    BagError
        It cannot be read, or is no such file.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
        result = Calibration(
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
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BagError(
            f"{path} is no calibration as ROS's camera_calibration writes it "
            f"({' '.join(reason.split())})"
        ) from error
    if result.width < 1 or result.height < 1 or not (result.k[0] > 0 and result.k[4] > 0):
        raise BagError(f"{path}: image size and focal lengths must be positive")
    return result


def _numbers(matrix: Any, count: int | None) -> tuple[float, ...]:
    """The finite numbers of one of the file's matrices, `count` of them."""
    result = tuple(float(value) for value in matrix["data"])
    if count not in (None, len(result)) or not all(map(math.isfinite, result)):
        raise ValueError(f"expected {count or 'finite'} numbers, but got {list(result)}")
    return result
