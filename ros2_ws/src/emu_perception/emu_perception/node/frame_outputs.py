"""Outputs for one image, computed lazily."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from emu_core.bags.camera_info import CameraInfoError, focal_lengths
from emu_core.bags.distortion import rectified
from emu_core.bags.images import to_rgb
from emu_core.labels import DOUBTFUL, IGNORE, ClassTable
from emu_core.runtime.fitting import resize
from emu_core.runtime.overlay import blend
from emu_core.runtime.perceiver import Perceiver, Perception, Request
from emu_perception.messages.images import fill_image
from emu_perception.messages.points import strided_rays, xyz_cloud
from emu_perception.node.label_info import unknown_id
from emu_perception.node.parameters import Settings
from emu_perception.planners.classes import Roles
from emu_perception.planners.scene import Limits, Scene, strided

if TYPE_CHECKING:
    from emu_perception.node.camera import Camera

PROBABILITIES = "semantic/probabilities"
"""The topic for which the model has to compute more."""

_MAX_MM = 65535.5  # rounds to the largest value of 16 bits


class FrameOutputs:
    """Outputs for one image of a camera. Maps have the output size of the model, (H, W).

    Each attribute is computed at its first use and may raise UnsupportedImage.

    Args:
        topics: names of the outputs that have a subscriber.
    """

    def __init__(
        self,
        message: Image | CompressedImage,
        camera: Camera,
        topics: Collection[str] = (),
    ) -> None:
        self.message, self.header, self.topics = message, message.header, topics
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
    def perceiver(self) -> Perceiver:
        """The model, which all cameras of a node share."""
        return self._camera.perceiver

    @property
    def unknown(self) -> int | None:
        """The id of uncertain pixels; None if they keep their class."""
        return unknown_id(self._classes) if self.settings.marks_unknown else None

    @property
    def _classes(self) -> ClassTable:
        return self.perceiver.info.classes

    @cached_property
    def request(self) -> Request:
        """What the model is asked: the image, its focal length, the groups of probabilities."""
        rgb, info = self.image
        focal = focal_lengths(info) if info is not None else None
        if PROBABILITIES not in self.topics:
            return Request(rgb, focal)
        return Request(rgb, focal, np.stack(list(self.groups.values()), axis=-1))

    @cached_property
    def _answer(self) -> tuple[Perception, np.ndarray | None]:
        """The model's maps and probabilities."""
        request, start = self.request, time.monotonic()
        answer = self.perceiver.perceive_many([request])[0]
        self.inference_s = time.monotonic() - start
        return answer

    def answered(self, answer: tuple[Perception, np.ndarray | None], seconds: float) -> None:
        """Take the model's answer to `request` from an inference of several images."""
        self._answer, self.inference_s = answer, seconds

    @cached_property
    def perception(self) -> Perception:
        """The model's outputs, in metres for this lens if it is known."""
        perception, _ = self._answer
        perception = self._without_doubtful_sky(perception)
        labels, uncertainty = perception.labels, perception.label_uncertainty
        if self.unknown is None or labels is None or uncertainty is None:
            return perception
        uncertain = uncertainty > self.settings.unknown_above
        unknown = uncertain & (labels != IGNORE)
        return replace(perception, labels=np.where(unknown, np.uint8(self.unknown), labels))

    def _without_doubtful_sky(self, perception: Perception) -> Perception:
        """Set depth from +Inf to NaN where the sky is doubtful: there may be an obstacle.

        The model has done this for `DOUBTFUL`, with its estimate instead of NaN. With a larger
        limit, the sky up to it is +Inf.
        """
        labels, uncertainty = perception.labels, perception.label_uncertainty
        sky, depth, std = self._classes.sky, perception.depth, perception.depth_std
        if sky is None or labels is None or uncertainty is None or depth is None:
            return perception
        limit = self.settings.doubtful_above
        if self.settings.marks_unknown:
            limit = min(limit, self.settings.unknown_above)
        is_sky, certain = labels == sky, uncertainty <= limit
        changes = [(is_sky & ~certain & np.isinf(depth), np.float32(np.nan))]
        if limit > DOUBTFUL:
            changes.append((is_sky & certain, np.float32(np.inf)))
        for pixels, value in changes:
            if pixels.any():
                depth = np.where(pixels, value, depth)
                std = None if std is None else np.where(pixels, value, std)
        return replace(perception, depth=depth, depth_std=std)

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
    def map_camera_info(self) -> CameraInfo | None:
        """The CameraInfo of the maps; None if that of the image is unknown."""
        info = self.image[1]
        return None if info is None else self._camera.lens.map_info(info, self.header)

    @cached_property
    def points(self) -> PointCloud2 | None:
        """The point cloud; None if the ray of each pixel is unknown."""
        info = self.map_camera_info
        if info is None:
            return None
        settings = self.settings
        limit, stride = settings.max_depth_std_ratio, settings.stride
        try:
            return self._camera.cloud.message(
                self.perception, info, self.rgb, limit, self.header, stride
            )
        except CameraInfoError as error:
            self._camera.lens.report_no_points(error)
            return None

    @cached_property
    def scene(self) -> Scene | None:
        """Obstacles, ground and free space; None if the ray of each pixel is unknown."""
        info = self.map_camera_info
        if info is None:
            return None
        settings = self.settings
        try:
            rays = strided_rays(info, settings.stride)
        except CameraInfoError as error:
            self._camera.lens.report_no_points(error)
            return None
        maps = {name: strided(values, settings.stride) for name, values in self.maps.items()}
        limits = Limits(**{f.name: getattr(settings, f.name) for f in fields(Limits)})
        return Scene(maps, rays, self._roles, self._classes.sky, limits)

    def cloud(self, points: Callable[[Scene], np.ndarray]) -> PointCloud2 | None:
        """Make the cloud of some points of the scene; None if there is no scene."""
        return None if self.scene is None else xyz_cloud(points(self.scene), self.header)

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """Classes, bool (C,), of each channel of the probabilities, by name."""
        return self.settings.groups(self._classes)

    @cached_property
    def probabilities(self) -> Image:
        """The probability of each group; for frames with this topic."""
        _, probabilities = self._answer
        assert probabilities is not None
        return fill_image(Image(), probabilities, f"32FC{len(self.groups)}", self.header)

    @cached_property
    def _roles(self) -> Roles:
        return self.settings.roles(self._classes)

    @cached_property
    def dynamic_mask(self) -> np.ndarray:
        """255 where the class is one of `dynamic_classes`, otherwise 0; uint8 (H, W)."""
        return cv2.LUT(self.maps["labels"], 255 * self._roles.dynamic.astype(np.uint8))

    @cached_property
    def signed_labels(self) -> np.ndarray:
        """Class ids, and -1 for pixels without a label; int16 (H, W)."""
        labels = self.maps["labels"].astype(np.int16)
        labels[labels == IGNORE] = -1
        return labels

    @cached_property
    def depth_mm(self) -> np.ndarray:
        """Millimetres along Z; 0 without an estimate or beyond 65.535 m; uint16 (H, W)."""
        mm = self.maps["depth"] * np.float32(1000)
        return np.where(mm < _MAX_MM, mm, 0).round().astype(np.uint16)

    @cached_property
    def rgb(self) -> np.ndarray:
        """The image at the size of the maps; uint8 (H, W, 3)."""
        image = self.image[0]
        fitting = self.perceiver.fitting(*image.shape[:2])
        return resize(image, (fitting.height, fitting.width))

    @cached_property
    def overlay(self) -> np.ndarray:
        """The image under the class colours, paler where uncertain; uint8 (H, W, 3) BGR."""
        labels, uncertainty = self.maps["labels"], self.maps["label_uncertainty"]
        classes, alpha = self._classes, self.settings.overlay_alpha
        rgb = blend(self.image[0], labels, uncertainty, classes, alpha)
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def perceive_together(frames: Sequence[FrameOutputs]) -> None:
    """Ask the model once for the frames of several cameras that share it.

    A frame without a subscriber is left out, and one with an unusable image, too: its error is
    raised when its outputs are made.
    """
    asked: list[FrameOutputs] = []
    for frame in frames:
        with suppress(Exception):
            if frame.topics and frame.request:
                asked.append(frame)
    if len(asked) < 2:
        return
    start = time.monotonic()
    try:
        answers = asked[0].perceiver.perceive_many([frame.request for frame in asked])
    except Exception:  # each frame is tried alone, and reports its error
        return
    seconds = time.monotonic() - start
    for frame, answer in zip(asked, answers, strict=True):
        frame.answered(answer, seconds)
