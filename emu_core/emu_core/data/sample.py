"""What every data set yields, whatever its files look like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from emu_core.labels import IGNORE, ClassTable


class DataError(ValueError):
    """A data set is missing, incomplete or damaged; the message names the file."""


@dataclass(frozen=True)
class Sample:
    """One frame as arrays.

    image uint8 (H,W,3) RGB; labels uint8 (H,W) train ids, 255 ignored; depth float32 (H,W) metres
    along z, NaN where there is no valid ground truth; focal (fx, fy) in pixels of this image;
    labelled: whether there is ground truth at all.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    focal: tuple[float, float]
    labelled: bool = True


class Samples(Protocol):
    """Samples by their index, 0…len − 1; IndexError beyond."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class DataSet(Samples, Protocol):
    """A split: its samples, their names without reading them, and what they have in common."""

    classes: ClassTable
    max_depth: float
    labelled: bool

    @property
    def names(self) -> list[str]:
        """Each sample's name, in the order of the indices."""
        ...

    def files(self, index: int) -> list[Path]:
        """What a sample is read from."""
        ...


def unlabelled(name: str, image: np.ndarray, focal: tuple[float, float]) -> Sample:
    """A sample without ground truth: all labels ignored, all depths NaN.

    Args:
        image: uint8 (H,W,3) RGB.
        focal: (fx, fy) in pixels of the image.
    """
    shape = image.shape[:2]
    labels, depth = np.full(shape, IGNORE, np.uint8), np.full(shape, np.nan, np.float32)
    return Sample(name, image, labels, depth, focal, labelled=False)


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
