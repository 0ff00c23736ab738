"""Depth images in metres: `Image`, or `CompressedImage` of image_transport's plugins.

An image of 16 bits holds millimetres, one of 32 bits metres (REP 118). The plugin compressedDepth
puts 12 bytes before a PNG: an enumeration, and the numbers A and B of its code for 32FC1, with
which metres = A / (code - B).
"""

from __future__ import annotations

import struct
from typing import cast

import numpy as np

from emu_core.bags.images import UnsupportedImage, decode_picture, image_rows
from emu_core.bags.types import CompressedImage, Image

_PIXEL_BYTES = {"32FC1": 4, "16UC1": 2, "mono16": 2}
_METRES_PER_MILLIMETRE = np.float32(0.001)
_PLUGIN_HEADER = struct.Struct("<iff")


def depth_metres(message: Image | CompressedImage) -> np.ndarray:
    """Metres along the optical axis, float32 (h, w), 0 where there is none.

    Raises:
        UnsupportedImage: The message is no depth image, or it is damaged.
    """
    raw = hasattr(message, "encoding")
    metres = _raw(cast("Image", message)) if raw else _compressed(cast("CompressedImage", message))
    with np.errstate(invalid="ignore"):
        return np.where((metres > 0) & np.isfinite(metres), metres, np.float32(0))


def _raw(message: Image) -> np.ndarray:
    rows = np.ascontiguousarray(image_rows(message, _PIXEL_BYTES))
    order, code = ">" if message.is_bigendian else "<", message.encoding
    if code == "32FC1":
        return rows.view(f"{order}f4").astype(np.float32)
    return rows.view(f"{order}u2") * _METRES_PER_MILLIMETRE


def _compressed(message: CompressedImage) -> np.ndarray:
    encoding, _, codec = message.format.partition(";")
    data, a, b = bytes(message.data), 0.0, 0.0
    if "compressedDepth" in codec:
        if "rvl" in codec or len(data) <= _PLUGIN_HEADER.size:
            problem = f"compressed depth of format {message.format!r}: only PNG is supported"
            raise UnsupportedImage("codec", problem)
        _, a, b = _PLUGIN_HEADER.unpack_from(data)
        data = data[_PLUGIN_HEADER.size :]
    code = decode_picture(data, message.format)
    if code.dtype != np.uint16 or code.ndim != 2:
        problem = f"compressed image of format {message.format!r}: not grey with 16 bits"
        raise UnsupportedImage("encoding", problem)
    if encoding.strip() != "32FC1":
        return code * _METRES_PER_MILLIMETRE
    with np.errstate(divide="ignore"):
        metres = np.float32(a) / (code - np.float32(b))
    return np.where(code > 0, metres, np.float32(0))
