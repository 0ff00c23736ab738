"""Convert ROS image messages to NumPy arrays.

Encodings have the names in sensor_msgs/image_encodings.hpp. Conversions give the same bits as
cv_bridge, if it has them. Otherwise: `8UC3` is bgr8, the order of OpenCV; nv12 and nv21 have
`height` rows of luma, then `height / 2` rows of chroma, of `step` bytes each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from emu_core.data.image_files import decode_image, header_size, is_jpeg, is_png

if TYPE_CHECKING:
    from emu_core.bags.types import CompressedImage, Image

JPEG_SUFFIXES = (".jpg", ".jpeg")
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
"""Suffixes of the image files that OpenCV reads; capital letters count as well."""

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
_ENCODING = re.compile(r"(rgba?|bgra?|mono|bayer_[rgb]{4})\d+|\d+[USF]C\d+|yuv|uyvy|yuyv|nv\d\d")
"""Begin of the names in sensor_msgs/image_encodings.hpp; "jpeg" and "png" are none."""

_PIXEL_BYTES = {**{name: size for name, (size, _) in _INTERLEAVED.items()}, "nv12": 1, "nv21": 1}
ENCODINGS = tuple(_PIXEL_BYTES)
"""Encodings of Image that `to_rgb` reads."""


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
        if hasattr(message, "encoding"):
            return _raw_to_rgb(cast("Image", message))
        return _decode(message)
    except cv2.error as error:
        raise UnsupportedImage("damaged", f"OpenCV cannot convert it: {error.err}") from None


def _raw_to_rgb(message: Image) -> np.ndarray:
    pixels, encoding = image_rows(message, _PIXEL_BYTES), message.encoding
    if encoding in _YUV_420:
        return cv2.cvtColor(pixels, _YUV_420[encoding])
    if encoding == "mono16":
        order = ">u2" if message.is_bigendian else "<u2"
        deep = np.ascontiguousarray(pixels).view(order).astype(np.uint16, copy=False)
        return cv2.cvtColor(to_8_bits(deep), cv2.COLOR_GRAY2RGB)
    channels, code = _INTERLEAVED[encoding]
    if channels > 1:
        # A view, even of padded rows.
        pixels = pixels.reshape(message.height, message.width, channels)
    return pixels if code is None else cv2.cvtColor(pixels, code)


def image_rows(message: Image, pixel_bytes: Mapping[str, int]) -> np.ndarray:
    """Check the fields and return a view of the rows without padding, uint8 (rows, bytes).

    Args:
        message: An image.
        pixel_bytes: Accepted encodings, and their bytes per pixel (for nv12 and nv21 of luma).

    Raises:
        UnsupportedImage: unknown encoding, or inconsistent fields.
    """
    height, width, encoding, step = message.height, message.width, message.encoding, message.step
    size = len(message.data)

    def refusal(kind: str, reason: str) -> UnsupportedImage:
        return UnsupportedImage(
            kind, f"image of {width}x{height} {encoding!r}, step {step}, {size} bytes: {reason}"
        )

    if encoding not in pixel_bytes:
        raise refusal("encoding", f"unsupported encoding; supported: {', '.join(pixel_bytes)}")
    if height == 0 or width == 0:
        raise refusal("zero size", "it has no pixels")
    if height * width > MAX_PIXELS:
        raise refusal("too large", f"at most {MAX_PIXELS} pixels are supported")
    if encoding in _YUV_422 and width % 2:
        raise refusal("odd size", "two pixels share one colour: the width must be even")
    if encoding in _YUV_420 and (width % 2 or height % 2):
        raise refusal("odd size", "2x2 pixels share one colour: width and height must be even")
    used = width * pixel_bytes[encoding]
    if step < used:
        raise refusal("step", f"a row needs at least {used} bytes")
    rows = height * 3 // 2 if encoding in _YUV_420 else height
    if size < rows * step:
        raise refusal("data", f"{rows} rows of {step} bytes need {rows * step} bytes")
    return np.frombuffer(message.data, np.uint8, rows * step).reshape(rows, step)[:, :used]


def _decode(message: CompressedImage) -> np.ndarray:
    # The format of image_transport begins with the encoding of the raw image, then "; jpeg …".
    encoding = message.format.partition(";")[0].strip()
    picture = decode_picture(bytes(message.data), message.format)
    described = f"compressed image of format {message.format!r}"
    if "compressedDepth" in message.format:
        raise UnsupportedImage("encoding", f"{described}: it is depth, not the image of a camera")
    if _ENCODING.match(encoding) and encoding not in ENCODINGS:
        supported = f"unsupported encoding; supported: {', '.join(ENCODINGS)}"
        raise UnsupportedImage("encoding", f"{described}: {supported}")
    if picture.dtype == np.uint16:
        if encoding != "mono16":
            reason = "16 bits per pixel, which a camera has as mono16 only; is it depth?"
            raise UnsupportedImage("encoding", f"{described}: {reason}")
        picture = to_8_bits(picture)
    if picture.ndim == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    # image_transport compresses a raw mosaic as a grey image.
    return cv2.cvtColor(picture, _BAYER.get(encoding, cv2.COLOR_GRAY2RGB))


def decode_picture(data: bytes, image_format: str) -> np.ndarray:
    """Decode a complete JPEG or PNG file as stored: uint8 or uint16, (h, w) or BGR (h, w, 3).

    `image_format` is the message's, for errors. EXIF orientation is ignored.

    Raises:
        UnsupportedImage: another codec, or a damaged file.
    """
    described = f"compressed image of format {image_format!r}, {len(data)} bytes"
    if not (is_png(data) or is_jpeg(data)):
        raise UnsupportedImage("codec", f"{described}: neither JPEG nor PNG")
    height, width = header_size(data)
    if width * height > MAX_PIXELS:
        reason = f"{width}x{height} pixels, but at most {MAX_PIXELS} are supported"
        raise UnsupportedImage("too large", f"{described}: {reason}")
    # As stored, in 8 or 16 bits, grey or colour; without alpha, as for raw images.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    picture = decode_image(data, flags)
    if picture is None:
        raise UnsupportedImage("damaged", f"{described}: truncated or damaged")
    return picture


def to_8_bits(deep: np.ndarray) -> np.ndarray:
    """Scale uint16 to uint8 by 255/65535 = 1/257, rounded, as cv_bridge does."""
    return cv2.convertScaleAbs(deep, alpha=255 / 65535)
