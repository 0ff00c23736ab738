"""Convert NumPy arrays to ROS image messages. Imports no ROS."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image, PointCloud2
    from std_msgs.msg import Header

_OUTGOING: dict[str, tuple[type[np.generic] | None, tuple[int, ...]]] = {  # type, channels
    "mono8": (np.uint8, ()),
    "16UC1": (np.uint16, ()),
    "16SC1": (np.int16, ()),
    "32FC1": (np.float32, ()),
    "bgr8": (np.uint8, (3,)),
    "rgb8": (np.uint8, (3,)),
}


def fill_image(message: Image, array: np.ndarray, encoding: str, header: Header) -> Image:
    """Write an array into an Image, with one copy and without padding, and return the message.

    The encoding is mono8 (uint8), 16UC1 (uint16), 16SC1 (int16) or 32FC1 (float32) for an array
    (h, w), bgr8 or rgb8 (uint8) for one (h, w, 3), or 32FCk (float32) for one (h, w, k).

    Raises:
        ValueError: the array does not have the type and the channels of the encoding.
    """
    dtype, channels = _OUTGOING.get(encoding, (None, ()))
    if encoding.startswith("32FC") and array.ndim == 3 and encoding == f"32FC{array.shape[2]}":
        dtype, channels = np.float32, array.shape[2:]
    if array.dtype != dtype or array.ndim < 2 or array.shape[2:] != channels or not array.size:
        raise ValueError(
            f"Expected argument `array` to hold a {encoding} image and `encoding` to be one of "
            f"{', '.join(_OUTGOING)} or 32FCk, but got {array.dtype} {array.shape}"
        )
    message.header, message.encoding = header, encoding
    message.height, message.width = array.shape[:2]
    message.is_bigendian, message.step = int(sys.byteorder == "big"), array[0].nbytes
    fill_data(message, np.ascontiguousarray(array))
    return message


def fill_jpeg(
    message: CompressedImage, bgr: np.ndarray, quality: int, header: Header
) -> CompressedImage:
    """Write an image, BGR uint8 (h, w, 3), into a CompressedImage and return the message."""
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    message.header, message.format = header, "bgr8; jpeg compressed bgr8"
    fill_data(message, encoded)
    return message


def fill_data(message: Image | CompressedImage | PointCloud2, array: np.ndarray) -> None:
    """Copy the bytes of a contiguous array into `message.data` in place."""
    # An assignment would copy once more (Jazzy), or check every byte (Humble, or if told to).
    del message.data[:]
    message.data.frombytes(array.data.cast("B"))
