"""Convert ROS image messages to NumPy arrays and back. Imports no ROS.

Encodings have the names in sensor_msgs/image_encodings.hpp. Conversions give the same bits as
cv_bridge, if it has them. Otherwise: `8UC3` is bgr8, the order of OpenCV; nv12 and nv21 have
`height` rows of luma, then `height / 2` rows of chroma, of `step` bytes each.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image, PointCloud2
    from std_msgs.msg import Header

MAX_PIXELS = 1 << 27
"""134 megapixels: more than robot cameras have, and less than most damaged headers claim."""

_BAYER = {
    # OpenCV names a mosaic after the second and third pixel of its second row, ROS after the
    # first two pixels of its first row.
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
_YUV_422 = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,  # the name of yuv422 since Iron
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
_YUV_420 = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
_INTERLEAVED: dict[str, tuple[int, int | None]] = {  # bytes per pixel, conversion
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "mono16": (2, None),
    **{name: (1, code) for name, code in _BAYER.items()},
    **{name: (2, code) for name, code in _YUV_422.items()},
}
ENCODINGS = (*_INTERLEAVED, *_YUV_420)
"""Encodings of Image that `to_rgb` reads."""

_OUTGOING: dict[str, tuple[type[np.generic] | None, tuple[int, ...]]] = {  # type, channels
    "mono8": (np.uint8, ()),
    "32FC1": (np.float32, ()),
    "bgr8": (np.uint8, (3,)),
}
_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class UnsupportedImage(ValueError):  # noqa: N818
    """An image message that cannot be read.

    Its kind is encoding, zero size, too large, odd size, step, data, codec or damaged.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def to_rgb(message: Image | CompressedImage) -> np.ndarray:
    """Return the pixels of an image message, RGB uint8 (h, w, 3).

    The array may share the message's memory: do not write into it. EXIF orientation is ignored.

    Raises:
        UnsupportedImage: unknown encoding or codec, or inconsistent fields.
    """
    try:
        return _raw_to_rgb(message) if hasattr(message, "encoding") else _decode(message)
    except cv2.error as error:
        raise UnsupportedImage("damaged", f"OpenCV cannot convert it: {error.err}") from None


def fill_image(message: Image, array: np.ndarray, encoding: str, header: Header) -> Image:
    """Write an array into an Image, with one copy and without padding, and return the message.

    The encoding is mono8 (uint8, (h, w)), 32FC1 (float32, (h, w)) or bgr8 (uint8, (h, w, 3)).

    Raises:
        ValueError: the array does not have the type and the channels of the encoding.
    """
    dtype, channels = _OUTGOING.get(encoding, (None, ()))
    if array.dtype != dtype or array.ndim < 2 or array.shape[2:] != channels or not array.size:
        raise ValueError(
            f"Expected argument `array` to hold a {encoding} image and `encoding` to be one of "
            f"{', '.join(_OUTGOING)}, but got {array.dtype} {array.shape}"
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


def _raw_to_rgb(message: Image) -> np.ndarray:
    pixels, encoding = _pixels(message), message.encoding
    if encoding in _YUV_420:
        return cv2.cvtColor(pixels, _YUV_420[encoding])
    if encoding == "mono16":
        order = ">u2" if message.is_bigendian else "<u2"
        deep = np.ascontiguousarray(pixels).view(order).astype(np.uint16, copy=False)
        return cv2.cvtColor(_to_8_bits(deep), cv2.COLOR_GRAY2RGB)
    channels, code = _INTERLEAVED[encoding]
    if channels > 1:
        # A view, even of padded rows.
        pixels = pixels.reshape(message.height, message.width, channels)
    return pixels if code is None else cv2.cvtColor(pixels, code)


def _pixels(message: Image) -> np.ndarray:
    """Check the fields and return a view of the rows without padding, uint8 (rows, bytes)."""
    height, width, encoding, step = message.height, message.width, message.encoding, message.step
    size = len(message.data)

    def refusal(kind: str, reason: str) -> UnsupportedImage:
        return UnsupportedImage(
            kind, f"image of {width}x{height} {encoding!r}, step {step}, {size} bytes: {reason}"
        )

    if encoding not in ENCODINGS:
        raise refusal("encoding", f"unsupported encoding; supported: {', '.join(ENCODINGS)}")
    if height == 0 or width == 0:
        raise refusal("zero size", "it has no pixels")
    if height * width > MAX_PIXELS:
        raise refusal("too large", f"at most {MAX_PIXELS} pixels are supported")
    if encoding in _YUV_422 and width % 2:
        raise refusal("odd size", "two pixels share one colour: the width must be even")
    if encoding in _YUV_420 and (width % 2 or height % 2):
        raise refusal("odd size", "2x2 pixels share one colour: width and height must be even")
    used = width * _INTERLEAVED.get(encoding, (1, None))[0]
    if step < used:
        raise refusal("step", f"a row needs at least {used} bytes")
    rows = height * 3 // 2 if encoding in _YUV_420 else height
    if size < rows * step:
        raise refusal("data", f"{rows} rows of {step} bytes need {rows * step} bytes")
    return np.frombuffer(message.data, np.uint8, rows * step).reshape(rows, step)[:, :used]


def _decode(message: CompressedImage) -> np.ndarray:
    data = bytes(message.data)
    described = f"compressed image of format {message.format!r}, {len(data)} bytes"
    if data.startswith(_PNG_START):
        size, complete = _png_size(data), _png_is_complete(data)
    elif data.startswith(_JPEG_START):
        size, complete = _jpeg_size(data), data.rfind(_JPEG_END) > 0
    else:
        raise UnsupportedImage("codec", f"{described}: neither JPEG nor PNG")
    if size[0] * size[1] > MAX_PIXELS:
        reason = f"{size[0]}x{size[1]} pixels, but at most {MAX_PIXELS} are supported"
        raise UnsupportedImage("too large", f"{described}: {reason}")
    # As stored, in 8 or 16 bits, grey or colour; without alpha, as for raw images.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if complete else None
    if picture is None:
        raise UnsupportedImage("damaged", f"{described}: truncated or damaged")
    if picture.dtype == np.uint16:
        picture = _to_8_bits(picture)
    if picture.ndim == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    # image_transport compresses a raw mosaic as a grey image; the format begins with its encoding.
    mosaic = message.format.partition(";")[0].strip()
    return cv2.cvtColor(picture, _BAYER.get(mosaic, cv2.COLOR_GRAY2RGB))


def _to_8_bits(deep: np.ndarray) -> np.ndarray:
    """Scale uint16 to uint8 by 255/65535 = 1/257, rounded, as cv_bridge does."""
    return cv2.convertScaleAbs(deep, alpha=255 / 65535)


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height from a PNG's first chunk (ISO/IEC 15948, 11.2.2); zeros if truncated."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _png_is_complete(data: bytes) -> bool:
    """Whether all chunks of a PNG fit into it and the last is IEND (ISO/IEC 15948, 5.3).

    OpenCV allocates the length of a chunk before it checks it: a flipped bit costs 2 GB.
    """
    at = len(_PNG_START)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND":
            return at <= len(data)
    return False


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from a JPEG's frame header (ITU-T T.81, B.2.2); zeros without one."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            return int.from_bytes(data[at + 7 : at + 9], "big"), height
        else:
            at += 2 + length
    return 0, 0
