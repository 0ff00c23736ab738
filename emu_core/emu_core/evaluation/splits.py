"""What a method is scored on: a split's images at the network's size, each with its truth.

    split = open_split(data, "test")
    for view in split: ...

Ground truth is reduced to the network's size like the image, by nearest neighbour, and never
augmented. Images come drive by drive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from pathlib import Path

import numpy as np

from emu_core.data.augment import Augmentation, prepare
from emu_core.data.cityscapes import ARCHIVES, OBJECT_MASK, FrameFiles
from emu_core.data.datasets import Kind, evenly, open_dataset
from emu_core.data.nyuv2 import ORIGINS
from emu_core.data.sample import DataSet, Sample, read_grey
from emu_core.metrics import RoadObjects, road_objects
from emu_core.training.config import Data

_UNKNOWN_SEQUENCE = "000000"
"""Of a pair, the sequence with the unknown object; the other one has its ordinary twin."""

_UNPACKED = ("rgb", "labels_40", "depth")
"""Folders of NYUv2's unpacked form."""


@dataclass(frozen=True)
class View:
    """One image and its truth, at the network's size.

    image uint8 (H,W,3) RGB; labels uint8 (H,W); depth float32 (H,W), metres of the image's own
    lens, NaN where invalid; `depth_factor` turns the network's canonical metres into them; `drive`
    is what a bootstrap draws; `objects` in the images of pairs alone.
    """

    drive: str
    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    depth_factor: float
    objects: RoadObjects | None


class Split:
    """A split's views, in the order of their drives.

    Args:
        samples: all of them.
        name: of the split.
        data: where it lies.
        whole: how images become the network's input; nothing random of it is used.
        stride: only every so many images.
    """

    def __init__(
        self, samples: DataSet, name: str, data: Data, whole: Augmentation, stride: int = 1
    ):
        self.samples, self.name = samples, name
        self.root, self.kind = data.root, data.kind
        self.classes, self.max_depth = samples.classes, samples.max_depth
        # No limit: where the network cannot see that far, it is wrong, and that counts.
        self.augmentation = replace(whole, depth_limit=inf)
        names = samples.names
        self._places = sorted(
            (drive_of(names[i], data.kind), i) for i in range(0, len(names), stride)
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of images and truth."""
        return self.augmentation.height, self.augmentation.width

    @property
    def drives(self) -> list[str]:
        """The drives, in order."""
        return sorted({drive for drive, _ in self._places})

    @cached_property
    def digest(self) -> str:
        """Changes with the images: with their names, and with the sizes of all of their files."""
        found = [
            f"{path.relative_to(self.root)} {path.stat().st_size if path.is_file() else -1}"
            for path in self._files
        ]
        return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]

    @property
    def _files(self) -> Iterator[Path]:
        """Every file that a view may be read from, be it there or not."""
        names = self.samples.names
        for name in (names[index] for _, index in self._places):
            if self.kind == "nyuv2":
                yield from (self.root / self.name / kind / f"{name}.png" for kind in _UNPACKED)
            else:
                frame = FrameFiles(self.root, self.name, name)
                yield from (frame.path(folder) for folder in ARCHIVES)
                yield frame.path("gtFine", OBJECT_MASK)
        if self.kind == "nyuv2":
            yield from (self.root / name for name in ORIGINS)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[View]:
        return self.some(len(self))

    def some(self, most: int) -> Iterator[View]:
        """At most so many views, spread evenly."""
        for place in evenly(len(self), most):
            drive, index = self._places[place]
            yield self._view(drive, self.samples[index])

    def _view(self, drive: str, sample: Sample) -> View:
        ready = prepare(sample, self.augmentation)
        factor = ready.depth_factor
        return View(
            drive,
            ready.image,
            ready.labels,
            ready.depth * np.float32(factor),
            factor,
            self._objects(sample, ready.labels),
        )

    def _objects(self, sample: Sample, labels: np.ndarray) -> RoadObjects | None:
        if self.kind == "nyuv2":
            return None
        path = FrameFiles(self.root, self.name, sample.name).path("gtFine", OBJECT_MASK)
        if not path.is_file():
            return None
        mask = read_grey(path, np.uint8, "is it 0 and 255?") > 0
        there = prepare(replace(sample, labels=mask.astype(np.uint8)), self.augmentation).labels
        unknown = sample.name.split("_")[1] == _UNKNOWN_SEQUENCE
        return road_objects(labels, there == 1, unknown)


def open_split(
    data: Data, split: str, size: tuple[int, int] | None = None, stride: int = 1
) -> Split:
    """A split of the data that a training's configuration names.

    Args:
        data: where it lies, and what the network gets; its part of the training frames is ignored.
        split: test, haze, …
        size: height and width of the network's input, the whole image's width being the input's;
            None for what a training's validation uses.
        stride: only every so many images.

    Raises:
        DataError: there is no such data.
    """
    whole = data.whole_images
    if size is not None:
        whole = replace(whole, height=size[0], width=size[1], image_width=None)
    samples = open_dataset(data.kind, data.root, split, data.max_depth)
    return Split(samples, split, data, whole, stride)


def drive_of(name: str, kind: Kind) -> str:
    """What a bootstrap over drives draws as one.

    Rendered drives: the drive, both scenes of a pair together. Cityscapes: the sequence. NYUv2:
    the image, for its names tell no scenes.
    """
    if kind == "drives":
        return name.split("_")[0]
    return name.rpartition("_")[0] or name
