"""A camera's drive, written into a bag: its images, raw or compressed, and its camera_info.

    with DriveWriter("drive", codec="jpeg") as drive:
        drive.write(time_ns, bgr, calibration)          # uint8 (H, W, 3)

Topics as camera drivers name them: /camera/image_raw, or /camera/image_raw/compressed, and
/camera/camera_info beside it. `ros2 bag play` of Humble and Jazzy reads the bag. No torch, no ROS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emu_core.bags.calibration import Calibration
from emu_core.bags.errors import BagError
from emu_core.bags.writer import BagWriter

RAW, JPEG, PNG = "none", "jpeg", "png"
CODECS = (JPEG, PNG, RAW)
_SUFFIXES = {JPEG: ".jpg", PNG: ".png"}


class DriveWriter:
    """Writes the bag of one camera; `bag` is the BagWriter below, for further topics.

    `codec` is one of `CODECS`; `camera` names the topics' namespace and the frame_id. A block that
    ends with an exception leaves no bag.

    Raises
    ------
    BagError
        Something exists at the path, or the bag cannot be written.
    """

    def __init__(
        self, path: str | Path, *, codec: str = JPEG, quality: int = 90, camera: str = "camera"
    ) -> None:
        self.bag = BagWriter(path)
        self.frame_id = f"{camera.replace('/', '_')}_optical"
        self.image_topic = f"/{camera}/image_raw" + ("" if codec == RAW else "/compressed")
        self.info_topic = f"/{camera}/camera_info"
        self._codec, self._quality = codec, quality
        self._types = self.bag.store.types
        kind = "Image" if codec == RAW else "CompressedImage"
        self.bag.add_topic(self.image_topic, f"sensor_msgs/msg/{kind}")

    def header(self, time_ns: int) -> Any:
        """Header of everything that belongs to the image of that time."""
        stamp = self._types["builtin_interfaces/msg/Time"](*divmod(time_ns, 10**9))
        return self._types["std_msgs/msg/Header"](stamp, self.frame_id)

    def write(
        self,
        time_ns: int,
        bgr: np.ndarray,
        calibration: Calibration | None = None,
        jpeg: bytes | None = None,
    ) -> None:
        """Append an image and, where it is known, its camera_info.

        Parameters
        ----------
        time_ns : stamp of both, and when the bag says that they came; never decreasing.
        bgr : uint8 (H, W, 3).
        calibration : of this very image.
        jpeg : the image as a coloured JPEG file, which a JPEG bag takes as it is.
        """
        if calibration is not None:
            if self.info_topic not in self.bag.counts:
                self.bag.add_topic(self.info_topic, "sensor_msgs/msg/CameraInfo")
            info = self._camera_info(time_ns, calibration)
            self.bag.write(self.info_topic, time_ns, self.bag.encode(info))
        if self._codec == RAW:
            image = self._image(time_ns, bgr)
        else:
            image = self.compressed(
                time_ns,
                f"bgr8; {self._codec} compressed bgr8",
                np.frombuffer(jpeg, np.uint8)
                if jpeg is not None and self._codec == JPEG
                else self._encode(bgr),
            )
        self.bag.write(self.image_topic, time_ns, self.bag.encode(image))

    def _image(self, time_ns: int, bgr: np.ndarray) -> Any:
        height, width = bgr.shape[:2]
        return self._types["sensor_msgs/msg/Image"](
            self.header(time_ns), height, width, "bgr8", 0, 3 * width, bgr.ravel()
        )

    def _encode(self, bgr: np.ndarray) -> np.ndarray:
        options = [cv2.IMWRITE_JPEG_QUALITY, self._quality] if self._codec == JPEG else []
        done, code = cv2.imencode(_SUFFIXES[self._codec], bgr, options)
        if not done:
            raise BagError(f"OpenCV cannot write {self._codec} images")
        return code

    def compressed(self, time_ns: int, image_format: str, code: np.ndarray) -> Any:
        """A CompressedImage of an encoded file, uint8."""
        kind = self._types["sensor_msgs/msg/CompressedImage"]
        return kind(self.header(time_ns), image_format, code.astype(np.uint8).ravel())

    def _camera_info(self, time_ns: int, camera: Calibration) -> Any:
        roi = self._types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        d, k, r, p = (np.array(field, float) for field in (camera.d, camera.k, camera.r, camera.p))
        return self._types["sensor_msgs/msg/CameraInfo"](
            self.header(time_ns),
            camera.height,
            camera.width,
            camera.distortion_model,
            *(d, k, r, p),
            *(0, 0, roi),
        )

    def __enter__(self) -> DriveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.bag.close()
        else:
            self.bag.discard()
