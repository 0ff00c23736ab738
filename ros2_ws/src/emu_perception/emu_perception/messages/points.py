"""The point cloud: position, colour, class and uncertainties of every pixel.

A model without classes, or without a deviation of depth, has clouds without these fields.

There is only one copy: 512×1024 points are 14.7 MB and take about 5 ms.
"""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

from emu_core.bags.distortion import camera_model, rays
from emu_core.runtime.perceiver import Perception
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
"""Names and types of the fields of a point, of four bytes each and without gaps."""


class PointCloudMaker:
    """Make organised point clouds with the size of the maps. Use it from one thread only.

    Rays follow K of camera_info and the distortion; with `rectify`, the images are rectified, and
    rays follow P.
    """

    def __init__(self, rectify: bool = False) -> None:
        self._rectified = rectify
        self._points = np.empty((0, 0, 0), np.float32)
        self._colors = np.empty((0, 0, 4), np.uint8)

    def message(
        self,
        perception: Perception,
        camera_info: CameraInfo,
        rgb: np.ndarray,
        max_depth_std_ratio: float,
        header: Header,
    ) -> PointCloud2:
        """Make the point cloud of one frame; x, y and z are NaN where the position is unusable.

        A position is usable if depth is finite, depth_std (if the model has it) is at most
        `max_depth_std_ratio` · depth, and the pixel has a ray. An uncertain class never removes a
        position, because planners take a missing point for free space.

        Args:
            perception: maps of size (H, W), among them depth.
            camera_info: of the maps, without ROI and binning.
            rgb: the image at the size of the maps, uint8 (H, W, 3).

        Raises:
            CameraInfoError: see `distortion.camera_model`.
        """
        maps = perception.maps()
        depth, std = maps["depth"], maps.get("depth_std")
        pixel_rays = rays(camera_model(camera_info), self._rectified)
        usable = np.isfinite(depth)
        if std is not None:  # +Inf ≤ +Inf is true, so isfinite is needed, too
            usable &= std <= max_depth_std_ratio * depth
        if pixel_rays.known is not None:
            usable &= pixel_rays.known
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
        message = PointCloud2(header=header, height=z.shape[0], width=z.shape[1], is_dense=False)
        message.fields = [
            PointField(name=name, offset=4 * index, datatype=kind, count=1)
            for index, (name, kind) in enumerate(fields)
        ]
        message.point_step = 4 * len(fields)
        message.row_step = message.point_step * message.width
        fill_data(message, self._points)
        return message
