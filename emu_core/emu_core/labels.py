"""Class tables: names, dataset ids, train ids and colours.

A *dataset id* is what a ground-truth PNG stores (Cityscapes' `labelIds`); a *train id* is the
index of a network's output channel. Cityscapes' ids and colours are the benchmark's (Cordts et
al., CVPR 2016); NYUv2's 40 classes are those of Gupta et al. (CVPR 2013), coloured by PASCAL
VOC's rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORE = 255
"""Train id of pixels that losses and metrics leave out; in messages, unlabelled pixels."""


@dataclass(frozen=True)
class ClassTable:
    """The classes of one dataset, in the order of their train ids; `sky` is the one of the sky."""

    dataset: str
    names: tuple[str, ...]
    dataset_ids: tuple[int, ...]
    palette: tuple[tuple[int, int, int], ...]
    sky: int | None

    def __len__(self) -> int:
        return len(self.names)

    def colors(self) -> np.ndarray:
        """Return the RGB colour of every train id, uint8 (256, 3); other ids are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = self.palette
        return table

    def to_train_ids(self, dataset_ids: np.ndarray) -> np.ndarray:
        """Map dataset ids (uint8, any shape) to train ids; everything else becomes `IGNORE`."""
        table = np.full(256, IGNORE, np.uint8)
        table[list(self.dataset_ids)] = np.arange(len(self), dtype=np.uint8)
        return table[dataset_ids]


_CITYSCAPES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)

_NAMES, _IDS, _COLORS = zip(*_CITYSCAPES, strict=True)
CITYSCAPES = ClassTable("cityscapes", _NAMES, _IDS, _COLORS, sky=10)

UNKNOWN_OBJECT_ID = 5
"""Cityscapes' labelId `dynamic`, which has no train id: the unknown objects of rendered pairs."""

_NYUV2 = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"),
    *("picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror"),
    *("floor mat", "clothes", "ceiling", "books", "refridgerator", "television", "paper", "towel"),
    *("shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp"),
    *("bathtub", "bag", "otherstructure", "otherfurniture", "otherprop"),
)  # the spelling of the official classMapping40.mat


def _pascal_color(index: int) -> tuple[int, int, int]:
    """PASCAL VOC's colours: bits 3i, 3i+1, 3i+2 of the index are bit 7−i of red, green, blue."""
    red, green, blue = (
        sum((index >> (3 * i + channel) & 1) << (7 - i) for i in range(3)) for channel in range(3)
    )
    return red, green, blue


_NYUV2_IDS = tuple(range(1, 41))  # 0 is unlabelled
NYUV2 = ClassTable("nyuv2", _NYUV2, _NYUV2_IDS, tuple(map(_pascal_color, _NYUV2_IDS)), sky=None)

TABLES = {table.dataset: table for table in (CITYSCAPES, NYUV2)}
"""Class tables by name."""
