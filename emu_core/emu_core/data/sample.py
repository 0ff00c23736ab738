"""One frame of a data set as arrays, and the image files that it is read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from emu_core.data.image_files import damage, decode_image, header_size, warn_of_orientation
from emu_core.files import lfs_problem
from emu_core.labels import IGNORE

_HEADER = 1 << 18  # bytes: more than the segments of a JPEG before its frame header


class DataError(ValueError):
    """A data set is missing, incomplete or damaged; the message names the file."""


class MissingSplitError(DataError):
    """A data set is there, but it has no such split."""


@dataclass(frozen=True)
class Sample:
    """One frame.

    Args:
        name: Name, unique in its split.
        image: RGB, uint8 (H, W, 3).
        labels: Train ids, uint8 (H, W), 255 where ignored.
        depth: Metres along the optical axis, float32 (H, W), NaN where there is no ground truth.
        focal: (fx, fy) in pixels of this image; None if the camera is unknown.
        labelled: Whether the frame has ground truth of the classes.
        measured: Whether the frame has ground truth of the depth.
        part: Index of its data set in a mixture.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    focal: tuple[float, float] | None
    labelled: bool = True
    measured: bool = True
    part: int = 0


class Samples(Protocol):
    """Samples by index, 0 to len − 1; IndexError beyond."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


def partial_sample(
    name: str,
    image: np.ndarray,
    focal: tuple[float, float] | None,
    labels: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> Sample:
    """Return a sample that may lack ground truth: labels are then all ignored, depths all NaN.

    Depth of an unknown camera is no ground truth: the network could not learn its scale. Arguments
    are those of `Sample`.
    """
    shape = image.shape[:2]
    labelled, measured = labels is not None, depth is not None and focal is not None
    if labels is None:
        labels = np.full(shape, IGNORE, np.uint8)
    if depth is None or not measured:
        depth = np.full(shape, np.nan, np.float32)
    return Sample(name, image, labels, depth, focal, labelled, measured)


def existing_file(path: Path, origin: str = "") -> Path:
    """Return the path of a file; DataError if it is not there, empty, or a Git LFS pointer.

    Args:
        path: The path.
        origin: Where the file comes from, for the message: " (from …)" or nothing.
    """
    if not path.is_file():
        raise DataError(f"No file {path}{origin}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}{origin} is empty. Unpack or render it again, or copy it again.")
    if problem := lfs_problem(path):
        raise DataError(f"{problem}.")
    return path


def read_image(path: Path, flags: int, origin: str = "") -> np.ndarray:
    """Read an image as OpenCV decodes it (BGR); DataError if the file is missing or damaged.

    It has the pixels as stored: an EXIF orientation is ignored, with one warning.

    Args:
        path: Path of the image.
        flags: Flags of `cv2.imread`.
        origin: As for `existing_file`.
    """
    content = existing_file(path, origin).read_bytes()
    warn_of_orientation(path, content)
    return decode_file(path, content, flags, origin)


def decode_file(path: Path, content: bytes, flags: int, origin: str = "") -> np.ndarray:
    """Decode the content of an image file, without a warning; the rest is as for `read_image`."""
    image = decode_image(content, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataError(
            f"{path}{origin} is damaged: {damage(content)}. Unpack or render it again."
        )
    return image


def read_grey(path: Path, dtype: type, hint: str, origin: str = "") -> np.ndarray:
    """Read an image with one channel, (H, W); DataError if the file has another type.

    Args:
        path: Path of the image.
        dtype: np.uint8 or np.uint16.
        hint: What a file of another type may be, for the message.
        origin: As for `existing_file`.
    """
    image = read_image(path, cv2.IMREAD_UNCHANGED, origin)
    if image.dtype != dtype or image.ndim != 2:
        bits = 8 * np.dtype(dtype).itemsize
        raise DataError(
            f"{path}{origin}: expected {bits}-bit grey, but got {image.dtype} {image.shape}; "
            f"{hint}"
        )
    return image


def image_size(path: Path, origin: str = "") -> tuple[int, int]:
    """Read (height, width) of an image, if possible from its header; see `read_image`."""
    with existing_file(path, origin).open("rb") as file:
        height, width = header_size(file.read(_HEADER))
    if not (height and width):
        height, width = read_image(path, cv2.IMREAD_COLOR, origin).shape[:2]
    return height, width
