"""The point cloud: every pixel's position, colour, class and how far both can be trusted.

No loops in Python, and one copy out: 512×1024 points are 14.7 MB, and take about 5 ms.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from emu_core.runtime.perceiver import Perception
from emu_perception.camera_model.distortion import Rays, calibration, rays
from emu_perception.messages.images import fill_data

FIELDS = (
    ("x", PointField.FLOAT32),
    ("y", PointField.FLOAT32),
    ("z", PointField.FLOAT32),
    ("rgb", PointField.FLOAT32),  # the bytes B, G, R, 0, as PCL and RViz read them
    ("label", PointField.UINT32),
    ("label_uncertainty", PointField.FLOAT32),
    ("depth_std", PointField.FLOAT32),
)
"""Names and types of a point's fields, all of four bytes and without gaps."""

_BYTES = 4


class PointCloudMaker:
    """Makes organised clouds, width × height of the maps; use it from one thread.

    Parameters
    ----------
    rectify : the maps come from a rectified image, which P of the camera_info describes: K and D
        are left aside. Otherwise rays follow K and the lens's distortion.
    """

    def __init__(self, rectify: bool = False) -> None:
        self._rectified = rectify
        self._points = np.empty((0, 0, len(FIELDS)), np.float32)
        self._colors = np.empty((0, 0, 4), np.uint8)

    def message(
        self,
        perception: Perception,
        camera_info: Any,
        rgb: np.ndarray,
        max_depth_std_ratio: float,
        header: Any,
    ) -> PointCloud2:
        """The cloud of a frame; x, y and z are NaN where there is no usable position.

        A position is usable if depth is finite, depth_std ≤ `max_depth_std_ratio` · depth, and
        the lens tells where the pixel looks. A doubtful class never takes a position away: a
        planner takes a missing point for free space.

        Parameters
        ----------
        camera_info : of the maps, ROI and binning reset.
        rgb : the image at the maps' size, uint8 (H, W, 3).

        Raises
        ------
        CameraInfoError
            The lens is unknown: see `distortion.calibration`.
        """
        shape = perception.depth.shape
        camera = calibration(camera_info)
        sizes = {"camera_info": (camera.height, camera.width), "rgb": rgb.shape[:2]}
        for name, given in sizes.items():
            if given != shape:
                raise ValueError(
                    f"Expected argument `{name}` to be of the maps' size, {shape[1]}x{shape[0]}, "
                    f"but got {given[1]}x{given[0]}"
                )
        look = rays(camera, self._rectified)
        z = _usable_depth(perception, look, max_depth_std_ratio)
        if self._points.shape[:2] != shape:
            self._points = np.empty((*shape, len(FIELDS)), np.float32)
            self._colors = np.zeros((*shape, 4), np.uint8)
        cv2.mixChannels([rgb], [self._colors], [0, 2, 1, 1, 2, 0])
        channels = [
            look.x * z,
            look.y * z,
            z,
            self._colors.view(np.float32)[..., 0],
            perception.labels.astype(np.uint32).view(np.float32),
            perception.label_uncertainty,
            perception.depth_std,
        ]
        cv2.merge(channels, self._points)
        return _filled(self._points, header)


def _usable_depth(perception: Perception, look: Rays, max_depth_std_ratio: float) -> np.ndarray:
    depth = perception.depth
    # +Inf ≤ +Inf holds and NaN fails: hence both tests.
    usable = np.isfinite(depth) & (perception.depth_std <= max_depth_std_ratio * depth)
    if look.known is not None:
        usable &= look.known
    return np.where(usable, depth, np.float32(np.nan))


def _filled(points: np.ndarray, header: Any) -> PointCloud2:
    height, width = points.shape[:2]
    message = PointCloud2(header=header, height=height, width=width, is_dense=False)
    message.fields = [
        PointField(name=name, offset=_BYTES * index, datatype=kind, count=1)
        for index, (name, kind) in enumerate(FIELDS)
    ]
    message.point_step = _BYTES * len(FIELDS)
    message.row_step = message.point_step * width
    fill_data(message, points)
    return message
