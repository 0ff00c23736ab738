"""What every data set yields, whatever its files look like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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
