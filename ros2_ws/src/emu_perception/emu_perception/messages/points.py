"""Point clouds: position, colour, class and uncertainties of every pixel, or positions alone.

A model without classes, or without a deviation of depth, has clouds without these fields.

There is only one copy: 512×1024 points are 14.7 MB and take about 5 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

from emu_core.bags.distortion import Rays, camera_model, rays
from emu_core.runtime.perceiver import Perception
from emu_perception.messages.images import fill_data
from emu_perception.planners.scene import has_position, strided

FIELDS = (
    ("x", PointField.FLOAT32),
    ("y", PointField.FLOAT32),
    ("z", PointField.FLOAT32),
    ("rgb", PointField.FLOAT32),  # the bytes B, G, R, 0, as PCL and RViz read them
    ("label", PointField.UINT32),
    ("label_uncertainty", PointField.FLOAT32),
    ("depth_std", PointField.FLOAT32),
)
"""Names and types of the fields of a point, of four bytes each and without gaps."""


class PointCloudMaker:
    """Make organised point clouds with the size of the maps. Use it from one thread only.

    Rays follow K of camera_info and its distortion, which rectified images do not have.
    """

    def __init__(self) -> None:
        self._points = np.empty((0, 0, 0), np.float32)
        self._colors = np.empty((0, 0, 4), np.uint8)

    def message(
        self,
        perception: Perception,
        camera_info: CameraInfo,
        rgb: np.ndarray,
        max_depth_std_ratio: float,
        header: Header,
        stride: int = 1,
    ) -> PointCloud2:
        """Make the point cloud of one frame; x, y and z are NaN where the position is unusable.

        A position is usable if depth is finite, depth_std (if the model has it) is at most
        `max_depth_std_ratio` · depth, and the pixel has a ray. An uncertain class never removes a
        position, because planners take a missing point for free space.

        Args:
            perception: maps of size (H, W), among them depth.
            camera_info: of the maps, without ROI and binning.
            rgb: the image at the size of the maps, uint8 (H, W, 3).
            stride: only every n-th row and column becomes points.

        Raises:
            CameraInfoError: see `distortion.camera_model`.
        """
        maps = {name: strided(values, stride) for name, values in perception.maps().items()}
        depth, std, rgb = maps["depth"], maps.get("depth_std"), strided(rgb, stride)
        pixel_rays = strided_rays(camera_info, stride)
        usable = has_position(depth, std, max_depth_std_ratio, pixel_rays)
        z = np.where(usable, depth, np.float32(np.nan))  # (H, W)
        if self._colors.shape[:2] != z.shape:
            self._colors = np.zeros((*z.shape, 4), np.uint8)
        cv2.mixChannels([rgb], [self._colors], [0, 2, 1, 1, 2, 0])
        channels = {"x": pixel_rays.x * z, "y": pixel_rays.y * z, "z": z}
        channels["rgb"] = self._colors.view(np.float32)[..., 0]
        if "labels" in maps:
            channels["label"] = maps["labels"].astype(np.uint32).view(np.float32)
            channels["label_uncertainty"] = maps["label_uncertainty"]
        if std is not None:
            channels["depth_std"] = std
        fields = [(name, kind) for name, kind in FIELDS if name in channels]
        if self._points.shape != (*z.shape, len(fields)):
            self._points = np.empty((*z.shape, len(fields)), np.float32)
        cv2.merge([channels[name] for name, _ in fields], self._points)  # (H, W, fields)
        return _message(self._points, fields, header)


def strided_rays(camera_info: CameraInfo, stride: int) -> Rays:
    """Return the rays of every n-th row and column; see `distortion.camera_model` for errors."""
    every = rays(camera_model(camera_info))
    return Rays(*(None if a is None else strided(a, stride) for a in every))  # type: ignore[arg-type]


def xyz_cloud(points: np.ndarray, header: Header) -> PointCloud2:
    """Make an organised point cloud of positions, float32 (H, W, 3), NaN where there is none."""
    return _message(points, FIELDS[:3], header)


def _message(points: np.ndarray, fields: Sequence[tuple[str, int]], header: Header) -> PointCloud2:
    """Make a message of points, (H, W, fields) of four bytes each."""
    height, width, _ = points.shape
    message = PointCloud2(header=header, height=height, width=width, is_dense=False)
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=kind, count=1)
        for index, (name, kind) in enumerate(fields)
    ]
    message.point_step = 4 * len(fields)
    message.row_step = message.point_step * width
    fill_data(message, points)
    return message
