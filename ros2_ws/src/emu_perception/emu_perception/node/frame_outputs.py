"""Outputs for one image, computed lazily."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from emu_core.bags.camera_info import CameraInfoError, focal_lengths
from emu_core.bags.distortion import rectified
from emu_core.bags.images import to_rgb
from emu_core.labels import IGNORE
from emu_core.runtime.fitting import resize
from emu_core.runtime.overlay import blend
from emu_core.runtime.perceiver import Perception
from emu_perception.node.label_info import unknown_id
from emu_perception.node.parameters import Settings

if TYPE_CHECKING:
    from emu_perception.node.camera import Camera


class FrameOutputs:
    """Outputs for one image of a camera. Maps have the output size of the model, (H, W).

    Each attribute is computed at its first use and may raise UnsupportedImage.
    """

    def __init__(self, message: Image | CompressedImage, camera: Camera) -> None:
        self.message, self.header = message, message.header
        self.settings: Settings = camera.settings()
        self.inference_s: float | None = None
        """Duration of the inference; None before it."""
        self._camera = camera

    @cached_property
    def image(self) -> tuple[np.ndarray, CameraInfo | None]:
        """The image, uint8 (h, w, 3), rectified if requested and possible; and its CameraInfo."""
        rgb, lens = to_rgb(self.message), self._camera.lens
        info = lens.image_info(rgb.shape[1], rgb.shape[0])
        if info is None:
            return rgb, None
        if self._camera.rectify:
            try:
                rgb, info = rectified(rgb, info)
            except CameraInfoError as error:
                lens.report_no_points(error)
        lens.check_scale(info)
        return rgb, info

    @property
    def unknown(self) -> int | None:
        """The id of uncertain pixels; None if they keep their class."""
        classes = self._camera.perceiver.info.classes
        return unknown_id(classes) if self.settings.marks_unknown else None

    @cached_property
    def perception(self) -> Perception:
        """The model's outputs, in metres for this lens if it is known."""
        rgb, info = self.image
        focal = focal_lengths(info) if info is not None else None
        start = time.monotonic()
        perception = self._camera.perceiver.perceive(rgb, focal=focal)
        self.inference_s = time.monotonic() - start
        labels, uncertainty = perception.labels, perception.label_uncertainty
        if self.unknown is None or labels is None or uncertainty is None:
            return perception
        uncertain = uncertainty > self.settings.unknown_above
        unknown = uncertain & (labels != IGNORE)
        return replace(perception, labels=np.where(unknown, np.uint8(self.unknown), labels))

    @cached_property
    def maps(self) -> dict[str, np.ndarray]:
        """The maps that the model has, by name."""
        return self.perception.maps()

    @cached_property
    def confidence(self) -> np.ndarray:
        """round(255·(1 − label_uncertainty)), and 0 for pixels without a label; uint8 (H, W)."""
        # |255 − 255·u|, rounded and saturated, in one pass.
        uncertainty = self.maps["label_uncertainty"]
        confidence = cv2.convertScaleAbs(uncertainty, alpha=-255.0, beta=255.0)
        confidence[self.maps["labels"] == IGNORE] = 0
        return confidence

    @cached_property
    def depth_camera_info(self) -> CameraInfo | None:
        """The CameraInfo of the maps; None if that of the image is unknown."""
        info = self.image[1]
        return None if info is None else self._camera.lens.map_info(info, self.header)

    @cached_property
    def points(self) -> PointCloud2 | None:
        """The point cloud; None if the ray of each pixel is unknown."""
        info = self.depth_camera_info
        if info is None:
            return None
        rgb = resize(self.image[0], self.maps["depth"].shape)
        limit = self.settings.max_depth_std_ratio
        try:
            return self._camera.cloud.message(self.perception, info, rgb, limit, self.header)
        except CameraInfoError as error:
            self._camera.lens.report_no_points(error)
            return None

    @cached_property
    def overlay(self) -> np.ndarray:
        """The image under the class colours, paler where uncertain; uint8 (H, W, 3) BGR."""
        labels, uncertainty = self.maps["labels"], self.maps["label_uncertainty"]
        classes, alpha = self._camera.perceiver.info.classes, self.settings.overlay_alpha
        rgb = blend(self.image[0], labels, uncertainty, classes, alpha)
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
