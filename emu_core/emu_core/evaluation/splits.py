"""The images of a split with ground truth, both reduced to the size of the network input."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np
import torch
from torch import Tensor

from emu_core.data.augment import prepare
from emu_core.data.datasets import DataSet, evenly
from emu_core.data.sample import Sample, read_grey
from emu_core.metrics import RoadObjects, road_objects
from emu_core.training.config import Data


@dataclass(frozen=True)
class View:
    """One image and its ground truth.

    Args:
        drive: The group that a bootstrap draws, `DataSet.group_of`.
        image: uint8 (H, W, 3), RGB.
        labels: uint8 (H, W), groups of the data set's label space: train ids if it has the
            classes of the model.
        depth: float32 (H, W), metres, NaN where invalid.
        depth_factor: Factor from the network's canonical metres to metres.
        objects: Place of the object in rendered pairs; else None.
    """

    drive: str
    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    depth_factor: float
    objects: RoadObjects | None


def as_batch(view: View, device: str | torch.device) -> Tensor:
    """Return the image of a view as a batch, uint8 (1, 3, H, W)."""
    return torch.from_numpy(view.image).permute(2, 0, 1)[None].contiguous().to(device)


class Split:
    """The views of a split, sorted by drive.

    Args:
        data: Data set and network input; its selection of training frames is ignored.
        split: test, haze, …, or the frames of one.
        size: (height, width) of network input and ground truth; None for the size of validation.
        stride: Take only every `stride`-th image.

    Raises:
        DataError: The data does not exist.
    """

    def __init__(
        self,
        data: Data,
        split: str | DataSet,
        size: tuple[int, int] | None = None,
        stride: int = 1,
    ) -> None:
        whole = data.whole_images
        samples = data.open_scored([split])[split] if isinstance(split, str) else split
        if size is not None:
            whole = replace(whole, height=size[0], width=size[1], image_width=None)
        self.samples, self.name = samples, samples.split_title
        self.space, self.max_depth = samples.space, samples.max_depth
        # No limit: depth beyond the range of the network counts as an error.
        self.augmentation = replace(whole, depth_limit=inf)
        names = list(enumerate(samples.names))[::stride]
        self._places = sorted((samples.group_of(name), index) for index, name in names)
        self.drives = sorted({drive for drive, _ in self._places})

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of images and ground truth."""
        return self.augmentation.height, self.augmentation.width

    @cached_property
    def digest(self) -> str:
        """Hash of the names and sizes of all files; it changes when images are replaced."""
        names = [self.samples.names[index] for _, index in self._places]
        lines = []
        for name in names:
            mask = self.samples.object_mask(name)
            for path in [*self.samples.files(name), *([] if mask is None else [mask])]:
                size = path.stat().st_size if path.is_file() else -1
                lines.append(f"{os.path.relpath(path, self.samples.root)} {size}")
        if len(set(lines)) < len(lines):  # frames share a file: only their names differ
            lines += names
        if self.samples.shift is not None:
            lines.append(self.samples.shift)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[View]:
        return self.some(len(self))

    def some(self, most: int) -> Iterator[View]:
        """Yield at most so many views, spread evenly."""
        for place in evenly(len(self), most):
            drive, index = self._places[place]
            sample = self.samples[index]
            ready = prepare(sample, self.augmentation)
            factor, objects = ready.depth_factor, self._objects(sample, ready.labels)
            depth = ready.depth * np.float32(factor)
            labels = self.space.group_of_label[ready.labels]
            yield View(drive, ready.image, labels, depth, factor, objects)

    def _objects(self, sample: Sample, labels: np.ndarray) -> RoadObjects | None:
        path = self.samples.object_mask(sample.name)
        if path is None or not path.is_file():
            return None
        mask = read_grey(path, np.uint8, "is it 0 and 255?") > 0
        resized = prepare(replace(sample, labels=mask.astype(np.uint8)), self.augmentation).labels
        unknown = self.samples.has_unknown_object(sample.name)
        return road_objects(labels, resized == 1, unknown, self.space.model.index("road"))
