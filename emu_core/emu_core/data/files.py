"""Reads single files; a missing or damaged one is named together with where it comes from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from emu_core.data.sample import DataError


def existing_file(path: Path, origin: str = "") -> Path:
    """The path itself.

    Args:
        origin: where the file comes from, for the message: " (from …)" or nothing.

    Raises:
        DataError: there is no such file, or it is empty.
    """
    if not path.is_file():
        raise DataError(f"No file {path}{origin}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}{origin} is empty. Unpack or render it again.")
    return path


def read_image(path: Path, flags: int, origin: str = "") -> np.ndarray:
    """An image as OpenCV decodes it (BGR).

    Args:
        flags: of `cv2.imread`.
        origin: as in `existing_file`.

    Raises:
        DataError: the file is missing or damaged.
    """
    code = np.frombuffer(existing_file(path, origin).read_bytes(), np.uint8)
    image = cv2.imdecode(code, flags)
    if image is None:
        raise DataError(
            f"{path}{origin} is damaged: OpenCV cannot decode it. Unpack or render it again."
        )
    return image


def read_grey(path: Path, dtype: type, hint: str, origin: str = "") -> np.ndarray:
    """A grey PNG of one depth, (H,W) of `dtype`.

    Args:
        dtype: np.uint8 or np.uint16.
        hint: what a file of another type may be, for the message.
        origin: as in `existing_file`.

    Raises:
        DataError: the file is missing, damaged or of another type.
    """
    image = read_image(path, cv2.IMREAD_UNCHANGED, origin)
    if image.dtype != dtype or image.ndim != 2:
        bits = 8 * np.dtype(dtype).itemsize
        raise DataError(
            f"{path}{origin}: expected {bits}-bit grey, but got {image.dtype} {image.shape}; "
            f"{hint}"
        )
    return image
