"""The lens in front of the camera: its camera_info, and what that means for metres.

A monocular network knows metres only for the focal length of its training; the ratio of focal
lengths makes them metres for this lens. The last camera_info counts, whatever its stamp.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emu_core.runtime.perceiver import Perceiver
from emu_perception.camera_model.camera_info import (
    CameraInfoError,
    focal_lengths,
    for_image,
    image_size,
    scaled,
)
from emu_perception.node.log_once import Complaints

FIRST_INFO_WAIT_S = 2.0  # DDS sends again what came before it had matched, within a second
VIEW_SLACK = 0.1  # of the field of view, beyond those of training, before a warning
VIEW_LIMIT = 2.5  # of the focal length, beyond those of training: no factor mends such images
NOTEWORTHY_CHANGE = 0.01  # of the scale: a zoom lens moves, a log line is due


@dataclass(frozen=True)
class Scale:
    """Whether depth is in metres: state is unknown, unverified, verified or out of view."""

    state: str
    text: str


class Lens:
    """Takes CameraInfo messages and answers for an image of any size; thread-safe.

    `announced` says whether anybody publishes camera_info.
    """

    def __init__(
        self,
        perceiver: Perceiver,
        announced: Callable[[], bool],
        logger: Any,
        complaints: Complaints,
    ) -> None:
        self._perceiver = perceiver
        self._announced = announced
        self._logger = logger
        self._complaints = complaints
        self._arrived = threading.Event()
        self._latest: Any = None
        self._waited = False
        self._told_scale: float | None = None
        self.scale = Scale("unknown", "no image yet")
        self.blind = ""
        """Why there are no points, though camera_info has come."""

    def take(self, message: Any) -> None:
        """The subscription's callback."""
        last, self._latest = self._latest, message
        if last is not None and (last.distortion_model, *last.d) != (
            message.distortion_model,
            *message.d,
        ):
            self.blind = ""
        self._arrived.set()

    def of_image(self, width: int, height: int) -> Any | None:
        """The CameraInfo of a `width` × `height` image; None, with a warning, if unknown.

        `judge` wants to be called with that of the image which the network sees.
        """
        if self._latest is None and not self._waited and self._announced():
            # An image and its camera_info come one after the other, in either order.
            self._arrived.wait(FIRST_INFO_WAIT_S)
            self._waited = True
        latest = self._latest
        if latest is None:
            self._unverified("missing", "no camera_info has come")
            return None
        try:
            result = for_image(latest, width, height)
        except CameraInfoError as problem:
            self._unverified(problem.kind, str(problem))
            return None
        described = image_size(latest)
        if described != (width, height):
            self._complaints.warning(
                "camera_info resized",
                f"camera_info describes a {described[0]}x{described[1]} image, and the image is "
                f"{width}x{height}: taken for a resized one, focal lengths follow",
            )
        return result

    def of_maps(self, camera_info: Any, header: Any) -> Any:
        """The CameraInfo of the maps made from the image that `camera_info` describes."""
        fitting = self._perceiver.fitting(camera_info.height, camera_info.width)
        result = scaled(
            camera_info,
            fitting.scale_x,
            fitting.scale_y,
            fitting.offset_x,
            fitting.offset_y,
            fitting.width,
            fitting.height,
        )
        result.header = header
        return result

    def judge(self, camera_info: Any) -> None:
        """Say once, and when it changes, what the lens of an image does to its depth."""
        fx, fy = focal_lengths(camera_info) or (math.nan, math.nan)
        fitting = self._perceiver.fitting(camera_info.height, camera_info.width)
        focal, model = fitting.network_focal(fx, fy), self._perceiver.info
        scale = focal / model.canonical_focal
        if self._told_scale and math.isclose(scale, self._told_scale, rel_tol=NOTEWORTHY_CHANGE):
            return
        self._told_scale = scale
        text = (
            f"scale: camera {focal:.0f} px vs canonical {model.canonical_focal:.0f} px -> "
            f"x{scale:.3f}"
        )
        self._logger.info(text)
        view = _view(camera_info, fx)
        narrowest, widest = model.horizontal_fov
        trained = f"{narrowest:.0f}° to {widest:.0f}°"
        seen = f"the camera sees {view:.0f}° across, and the model was trained on {trained}"
        if not _tan(widest) * VIEW_LIMIT >= _tan(view) >= _tan(narrowest) / VIEW_LIMIT:
            self.scale = Scale(
                "out of view",
                f"{seen}: no factor corrects depth so far away. Crop or rectify the images, or "
                "train for this lens",
            )
            self._logger.error(self.scale.text)
            return
        self.scale = Scale("verified", text)
        if not narrowest * (1 - VIEW_SLACK) <= view <= widest * (1 + VIEW_SLACK):
            self._logger.warning(f"{seen}: expect worse classes and depths")

    def without_rays(self, problem: CameraInfoError) -> None:
        """Take note that this lens does not tell where pixels look."""
        self.blind = f"no points: {problem}"
        self._complaints.warning(f"camera_info {problem.kind}", self.blind)

    def _unverified(self, kind: str, why: str) -> None:
        focal = self._perceiver.info.canonical_focal
        text = (
            f"scale unverified: {why}. Depth holds for a focal length of {focal:.0f} px at the "
            "network's resolution"
        )
        self.scale = Scale("unverified", text)
        self._told_scale = None
        self._complaints.warning(f"camera_info {kind}", text)


def _view(camera_info: Any, fx: float) -> float:
    """Horizontal field of view in degrees."""
    if camera_info.distortion_model == "equidistant":  # the angle itself grows with the distance
        return math.degrees(camera_info.width / fx)
    return math.degrees(2 * math.atan(camera_info.width / (2 * fx)))


def _tan(view: float) -> float:
    """Half an image's width, one metre ahead, for a field of view in degrees; no end at 180°."""
    return math.tan(math.radians(min(view, 179.9) / 2))
