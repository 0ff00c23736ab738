"""Write the drive of one camera into a bag: images, raw or compressed, and camera_info.

    with DriveWriter("drive", codec="jpeg") as drive:
        drive.write(time_ns, bgr, calibration)          # uint8 (H, W, 3)

Topics are named as by camera drivers: /camera/image_raw or /camera/image_raw/compressed, and
/camera/camera_info. `ros2 bag play` of Humble and Jazzy reads the bag.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from emu_core.bags.errors import BagError
from emu_core.bags.types import CameraInfo, CompressedImage, Header, Image, Time
from emu_core.bags.writer import BagWriter

RAW, JPEG, PNG = "none", "jpeg", "png"
_SUFFIXES = {JPEG: ".jpg", PNG: ".png"}


class DriveWriter:
    """Writes the bag of one camera. A `with` block that ends with an exception leaves no bag.

    `codec` is JPEG, PNG or RAW; `camera` is the namespace of the topics, and in the frame_id.
    The attribute `bag` is the BagWriter, for further topics.

    Raises:
        BagError: The path exists, or the bag cannot be written.
    """

    def __init__(
        self, path: str | Path, *, codec: str = JPEG, quality: int = 90, camera: str = "camera"
    ) -> None:
        self.bag = BagWriter(path)
        self.frame_id = f"{camera.replace('/', '_')}_optical"
        self.image_topic = f"/{camera}/image_raw" + ("" if codec == RAW else "/compressed")
        self.info_topic = f"/{camera}/camera_info"
        self._codec, self._quality = codec, quality
        kind = Image if codec == RAW else CompressedImage
        self.bag.add_topic(self.image_topic, kind.__msgtype__)

    def write(
        self,
        time_ns: int,
        bgr: np.ndarray,
        calibration: CameraInfo | None = None,
        jpeg: bytes | None = None,
    ) -> None:
        """Append an image and, where the calibration is given, its camera_info.

        Args:
            time_ns: Stamp and bag time of both; must not decrease.
            bgr: uint8 (H, W, 3).
            calibration: Calibration for this image size.
            jpeg: The image as a colour JPEG file, which a JPEG bag stores unchanged.
        """
        if calibration is not None:
            if self.info_topic not in self.bag.counts:
                self.bag.add_topic(self.info_topic, CameraInfo.__msgtype__)
            info = replace(calibration, header=self._header(time_ns))
            self.bag.write_message(self.info_topic, time_ns, info)
        if self._codec == RAW:
            height, width = bgr.shape[:2]
            layout = (height, width, "bgr8", 0, 3 * width)
            image = Image(self._header(time_ns), *layout, bgr.ravel())
            self.bag.write_message(self.image_topic, time_ns, image)
            return
        stored = jpeg if self._codec == JPEG else None
        code = np.frombuffer(stored, np.uint8) if stored else self._encode(bgr)
        message = self.compressed(time_ns, f"bgr8; {self._codec} compressed bgr8", code)
        self.bag.write_message(self.image_topic, time_ns, message)

    def compressed(self, time_ns: int, image_format: str, code: np.ndarray) -> CompressedImage:
        """CompressedImage of an encoded file, uint8."""
        return CompressedImage(self._header(time_ns), image_format, code.ravel())

    def _encode(self, bgr: np.ndarray) -> np.ndarray:
        options = [cv2.IMWRITE_JPEG_QUALITY, self._quality] if self._codec == JPEG else []
        done, code = cv2.imencode(_SUFFIXES[self._codec], bgr, options)
        if not done:
            raise BagError(f"OpenCV cannot encode {self._codec} images")
        return code

    def _header(self, time_ns: int) -> Header:
        return Header(Time(*divmod(time_ns, 10**9)), self.frame_id)

    def __enter__(self) -> DriveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.bag.close()
        else:
            self.bag.discard()
