"""The lens of a camera: its latest camera_info, and the metric scale that follows from it.

A monocular network predicts metres only for the focal length of its training. The ratio of the
focal lengths converts them to metres for this lens. A model without a canonical focal length gives
metres for every lens. The latest camera_info is used, whatever its stamp.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emu_core.bags.camera_info import (
    CameraInfoError,
    focal_lengths,
    for_image,
    image_size,
    of_rectified_image,
    scaled,
    size_hint,
)
from emu_core.bags.distortion import is_equidistant
from emu_core.runtime.perceiver import Perceiver
from emu_perception.ros.log_once import LogOnce

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo
    from std_msgs.msg import Header

FIRST_INFO_WAIT_S = 2.0  # DDS repeats within a second what was published before the match
VIEW_TOLERANCE = 0.1  # of the trained fields of view: beyond it, a warning
VIEW_LIMIT = 2.5  # of the trained focal lengths: beyond it, no factor corrects the depth
SCALE_CHANGE = 0.01  # a larger change, of a zoom lens, is logged


@dataclass(frozen=True)
class MetricScale:
    """Whether depth is in metres.

    The state is unknown, unverified, verified, out of view, or no depth.
    """

    state: str
    text: str


@dataclass(frozen=True)
class Geometry:
    """Which numbers of camera_info hold for the images.

    `rectified` images have P, others K and D. `chosen`: the user decided, not the topic's name.
    `publishers` returns the names of the nodes that publish the images.
    """

    rectified: bool = False
    chosen: bool = False
    publishers: Callable[[], list[str]] = list

    def doubt(self, distorted: bool) -> str:
        """Return why this may be wrong if camera_info has distortion; empty if there is no why."""
        if self.chosen or not distorted:
            return ""
        if self.rectified:
            return (
                "the images are taken for rectified because of their topic's name: P of "
                "camera_info holds, not K and D. If so, set image_geometry to rectified, else to "
                "raw"
            )
        rectifiers = [name for name in self.publishers() if "rectif" in name.lower()]
        if rectifiers:
            return (
                f"the images come from {', '.join(rectifiers)}, but K and D of camera_info, which "
                "has distortion, are used. If the images are rectified, set image_geometry to "
                "rectified, else to raw"
            )
        return ""


class Lens:
    """Provide the CameraInfo of an image of any size, and check its metric scale. Thread-safe.

    `is_published` returns whether camera_info has a publisher.
    """

    def __init__(
        self,
        perceiver: Perceiver,
        is_published: Callable[[], bool],
        log_once: LogOnce,
        geometry: Geometry = Geometry(),
    ) -> None:
        self._perceiver, self._is_published, self._log_once = perceiver, is_published, log_once
        self._geometry = geometry
        self._received = threading.Event()
        self._latest: CameraInfo | None = None
        self._waited = False
        self._logged_focal: float | None = None
        self._canonical = perceiver.info.canonical_focal
        self._has_depth = self._canonical is not None or "depth" in perceiver.info.outputs
        self.scale = MetricScale("unknown", "no image yet")
        if not self._has_depth:
            self.scale = MetricScale("no depth", "the model has no depth")
        self.no_points = ""
        """Reason why no points are published although camera_info was received."""

    def update(self, message: CameraInfo) -> None:
        """Take a new CameraInfo."""
        last, self._latest = self._latest, message
        model = (message.distortion_model, message.d)
        if last is None or (last.distortion_model, last.d) != model:
            self.no_points = ""
        self._received.set()

    def image_info(self, width: int, height: int) -> CameraInfo | None:
        """Return the CameraInfo of an image of this size; None, with a warning, if unknown."""
        if self._latest is None and not self._waited and self._is_published():
            # An image and its camera_info arrive in either order.
            self._received.wait(FIRST_INFO_WAIT_S)
            self._waited = True
        latest = self._latest
        if latest is None:
            self._set_unverified("missing", "no camera_info")
            return None
        try:
            result = for_image(latest, width, height)
        except CameraInfoError as error:
            self._set_unverified(error.kind, str(error))
            return None
        described, hint = image_size(latest), size_hint(latest, width, height)
        if described != (width, height):
            text = (
                f"camera_info is for a {described[0]}x{described[1]} image, but the image is "
                f"{width}x{height}: focal lengths are scaled, as for a resized image"
            )
            self._log_once.warning("camera_info resized", f"{text}. {hint}" if hint else text)
        elif hint:
            self._log_once.warning("camera_info binning", hint)
        return of_rectified_image(result) if self._geometry.rectified else result

    def map_info(self, image_info: CameraInfo, header: Header) -> CameraInfo:
        """Return the CameraInfo of the output maps for the image that `image_info` describes."""
        fitting = self._perceiver.fitting(image_info.height, image_info.width)
        result = scaled(
            image_info,
            (fitting.scale_x, fitting.scale_y),
            (fitting.offset_x, fitting.offset_y),
            (fitting.width, fitting.height),
        )
        result.header = header
        return result

    def check_scale(self, image_info: CameraInfo) -> None:
        """Update `scale` for the image that the network gets, and log it if it changed."""
        fx, fy = focal_lengths(image_info) or (math.nan, math.nan)
        fitting = self._perceiver.fitting(image_info.height, image_info.width)
        focal = fitting.network_focal(fx, fy)
        if self._logged_focal and math.isclose(focal, self._logged_focal, rel_tol=SCALE_CHANGE):
            return
        self._logged_focal = focal
        text = "scale: depth is in metres for every lens, as the network gives it"
        if (canonical := self._canonical) is not None:
            text = f"scale: camera {focal:.0f} px vs canonical {canonical:.0f} px"
            text += f" -> x{focal / canonical:.3f}"
        if self._has_depth:
            self._log_once.logger.info(text)
            self.scale = MetricScale("verified", text)
        if self._perceiver.info.horizontal_fov is not None:
            self._check_view(_field_of_view(image_info, fx), *self._perceiver.info.horizontal_fov)

    def _check_view(self, view: float, narrowest: float, widest: float) -> None:
        """Compare the field of view with those of the training, all in degrees."""
        views = f"field of view {view:.0f}°, but trained on {narrowest:.0f}° to {widest:.0f}°"
        in_view = _tan(widest) * VIEW_LIMIT >= _tan(view) >= _tan(narrowest) / VIEW_LIMIT
        if self._has_depth and not in_view:
            text = f"{views}: depth is wrong. Crop or rectify the images, or train for this lens"
            self.scale = MetricScale("out of view", text)
            self._log_once.logger.error(text)
        elif not narrowest * (1 - VIEW_TOLERANCE) <= view <= widest * (1 + VIEW_TOLERANCE):
            self._log_once.logger.warning(f"{views}: expect less accurate classes and depths")

    def doubt(self) -> str:
        """Return why camera_info may be misread, and log it once; call it once a second."""
        info = self._latest
        distorted = info is not None and (any(info.d) or is_equidistant(info.distortion_model))
        if text := self._geometry.doubt(distorted):
            self._log_once.warning("camera_info geometry", text)
        return text

    def report_no_points(self, error: CameraInfoError) -> None:
        """Log and store the reason why the ray of each pixel is unknown."""
        self.no_points = f"no points: {error}"
        self._log_once.warning(f"camera_info {error.kind}", self.no_points)

    def _set_unverified(self, kind: str, reason: str) -> None:
        if not self._has_depth:
            return
        text = f"scale unverified: {reason}. Depth is as the network gives it for every lens"
        if self._canonical is not None:
            focal = f"{self._canonical:.0f} px at the network's resolution"
            text = f"scale unverified: {reason}. Depth is in metres only for a focal length of "
            text += focal
        self.scale = MetricScale("unverified", text)
        self._logged_focal = None
        self._log_once.warning(f"camera_info {kind}", text)


def _field_of_view(camera_info: CameraInfo, fx: float) -> float:
    """Horizontal field of view in degrees."""
    if is_equidistant(camera_info.distortion_model):  # pixels are proportional to the angle
        return math.degrees(camera_info.width / fx)
    return math.degrees(2 * math.atan(camera_info.width / (2 * fx)))


def _tan(view: float) -> float:
    """Half of an image's width at a distance of 1, for a field of view in degrees below 180°."""
    return math.tan(math.radians(min(view, 179.9) / 2))
