"""What follows from one image, each part computed when somebody first asks for it."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from emu_core.labels import IGNORE
from emu_core.runtime.fitting import resize
from emu_core.runtime.overlay import blend
from emu_core.runtime.perceiver import Perceiver, Perception
from emu_perception.camera_model.camera_info import CameraInfoError, focal_lengths
from emu_perception.camera_model.distortion import rectified
from emu_perception.camera_model.metric_scale import Lens
from emu_perception.messages.images import to_rgb
from emu_perception.messages.points import PointCloudMaker
from emu_perception.node.label_info import unknown_id
from emu_perception.node.parameters import Settings


class Answer:
    """The parts of the answer to one Image or CompressedImage, lazily.

    Any part may raise UnsupportedImage. All maps have one size, which is the model's. With
    `rectify`, all of it is of the image that a pinhole camera would have taken.
    """

    def __init__(
        self,
        message: Any,
        perceiver: Perceiver,
        lens: Lens,
        settings: Settings,
        cloud: PointCloudMaker,
        rectify: bool = False,
    ) -> None:
        self.header = message.header
        self.settings = settings
        self.inference_s: float | None = None
        """Seconds that the network took, once it was asked."""
        self._message, self._perceiver, self._lens = message, perceiver, lens
        self._cloud, self._rectify = cloud, rectify

    @cached_property
    def _image(self) -> tuple[np.ndarray, Any | None]:
        """The image, rectified if that is asked for and possible, and its CameraInfo."""
        rgb = to_rgb(self._message)
        info = self._lens.of_image(rgb.shape[1], rgb.shape[0])
        if info is None:
            return rgb, None
        if self._rectify:
            try:
                rgb, info = rectified(rgb, info)
            except CameraInfoError as problem:
                self._lens.without_rays(problem)
        self._lens.judge(info)
        return rgb, info

    @property
    def rgb(self) -> np.ndarray:
        """The camera's image, uint8 (h, w, 3)."""
        return self._image[0]

    @property
    def camera_info(self) -> Any | None:
        """The camera's CameraInfo, of this very image; None if unknown."""
        return self._image[1]

    @cached_property
    def perception(self) -> Perception:
        """The model's answer, in metres for this lens if that is known, doubtful pixels named."""
        rgb = self.rgb
        focal = focal_lengths(self.camera_info) if self.camera_info is not None else None
        start = time.monotonic()
        seen = self._perceiver.perceive(rgb, focal=focal)
        self.inference_s = time.monotonic() - start
        unknown = self.unknown
        if unknown is None:
            return seen
        doubtful = (seen.label_uncertainty > self.settings.unknown_above) & (seen.labels != IGNORE)
        return replace(seen, labels=np.where(doubtful, np.uint8(unknown), seen.labels))

    @property
    def unknown(self) -> int | None:
        """The id of doubtful pixels; None where they keep their class."""
        classes = self._perceiver.info.classes
        return unknown_id(classes) if self.settings.names_unknown else None

    @cached_property
    def confidence(self) -> np.ndarray:
        """round(255·(1 − label_uncertainty)), and 0 where there is no label; uint8 (H, W)."""
        seen = self.perception
        # |255 − 255·u|, rounded and saturated, in one pass.
        confidence = cv2.convertScaleAbs(seen.label_uncertainty, alpha=-255.0, beta=255.0)
        confidence[seen.labels == 255] = 0
        return confidence

    @cached_property
    def depth_camera_info(self) -> Any | None:
        """The CameraInfo of the maps; None if that of the camera is unknown."""
        if self.camera_info is None:
            return None
        return self._lens.of_maps(self.camera_info, self.header)

    @cached_property
    def points(self) -> Any | None:
        """The PointCloud2 of the maps; None if the lens does not tell where pixels look."""
        if self.depth_camera_info is None:
            return None
        rgb = resize(self.rgb, self.perception.depth.shape)
        limit = self.settings.max_depth_std_ratio
        try:
            return self._cloud.message(
                self.perception, self.depth_camera_info, rgb, limit, self.header
            )
        except CameraInfoError as problem:
            self._lens.without_rays(problem)
            return None

    @cached_property
    def overlay(self) -> np.ndarray:
        """The classes over the image, paler where they are doubtful; uint8 (H, W, 3) BGR."""
        seen = self.perception
        rgb = blend(
            self.rgb,
            seen.labels,
            seen.label_uncertainty,
            self._perceiver.info.classes,
            self.settings.overlay_alpha,
        )
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
