"""Data sets: their registry, their base class, and the selection of a part of one.

A new data set is a subclass of `DataSet`, registered in `DATASETS`. It is a module of this folder
with an import line in `emu_core/data/__init__.py`, or a file elsewhere that EMU_PLUGINS names.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emu_core.data.appearance.shifts import SHIFTS, apply_shift
from emu_core.data.label_space import LabelSpace
from emu_core.data.sample import DataError, Sample
from emu_core.labels import ClassTable
from emu_core.registry import Registry

if TYPE_CHECKING:
    from emu_core.data.decoded import DecodedFrames


@dataclass(frozen=True)
class PinholeCamera:
    """Focal lengths and size of an image, all in its own pixels."""

    fx: float
    fy: float
    width: int
    height: int

    @property
    def horizontal_fov(self) -> float:
        """Horizontal field of view, degrees."""
        return math.degrees(2 * math.atan(0.5 * self.width / self.fx))

    @property
    def relative_focal(self) -> float:
        """Geometric mean of the focal lengths over the image's width."""
        return math.sqrt(self.fx * self.fy) / self.width


@dataclass(frozen=True)
class SplitNames:
    """The splits of a data set by their use.

    Args:
        training: Split that trains networks.
        validation: Split that is watched during a training; None if there is none.
        test: Split that metrics are reported on; None if there is none.
        extra: More splits of a model card, with conditions that no training frame shows.
        calibration: Split that uncertainties are calibrated on; by default that of validation.
    """

    training: str = "train"
    validation: str | None = "val"
    test: str | None = "test"
    extra: tuple[str, ...] = ()
    calibration: str | None = None

    def __post_init__(self) -> None:
        if self.calibration is None:
            object.__setattr__(self, "calibration", self.validation)


class DataSet(ABC):
    """One split of a data set. Its frames are identified by their names.

    A part of a split, or a split with a cache, is a copy of this object with fewer names or with
    a cache. Methods must therefore depend on the name that they are given, and on no index.

    Args:
        root: Folder of the data set.
        split: Name of the split; DataError if there is no such split.
        max_depth: Ground truth beyond it is invalid, metres; None for `default_max_depth`.
        labelled: Whether to read ground truth; without it all labels are ignored, all depths NaN.
    """

    names: list[str]
    classes: ClassTable
    default_max_depth: float
    image_source: str
    """Description of the images for readers, e.g. "rendered frames"."""
    real_images = True
    """False if all images are rendered."""
    license, attribution = "", ""
    """Licence of the frames, and whom to name if results are published; empty if unknown."""
    space: LabelSpace
    """What the classes stand for among the classes of a model."""
    cache: DecodedFrames | None = None
    shift: str | None = None
    """Name in `SHIFTS` of a change of every image; None for none."""

    def __init__(
        self, root: str | Path, split: str, max_depth: float | None = None, labelled: bool = True
    ) -> None:
        self.root, self.split, self.labelled = Path(root), split, labelled
        self.max_depth = self.default_max_depth if max_depth is None else max_depth
        self.names = self.list_names()
        if not hasattr(self, "space"):
            self.space = LabelSpace.identity(self.classes)

    @property
    def title(self) -> str:
        """Name of the data set in tables and messages."""
        return self.root.name

    @property
    def split_title(self) -> str:
        """Name of the split in tables and messages: the split, or SPLIT+SHIFT."""
        return self.split if self.shift is None else f"{self.split}+{self.shift}"

    @classmethod
    def split_names(cls, root: Path) -> SplitNames:
        """Return the splits by their use. Most data sets need not look into `root`."""
        return SplitNames()

    @abstractmethod
    def list_names(self) -> list[str]:
        """List the frames of the split; DataError if there are none."""

    @abstractmethod
    def read(self, name: str) -> Sample:
        """Read a frame; DataError if a file is missing or damaged."""

    @abstractmethod
    def files(self, name: str) -> list[Path]:
        """Return the files that a frame is read from. A frame without files is never cached."""

    @abstractmethod
    def camera(self, name: str) -> PinholeCamera | None:
        """Return the camera of a frame, if possible without decoding the image; None if unknown.

        A frame of an unknown camera has no ground truth of the depth.
        """

    def has_labels(self, name: str) -> bool:
        """Return whether a frame has ground truth of the classes, without reading it."""
        return self.labelled

    def has_depth(self, name: str) -> bool:
        """Return whether a frame has ground truth of the depth, without reading it."""
        return self.labelled

    def unknown_ids(self, name: str) -> dict[int, int]:
        """Return the pixels of each id in the label file that no class and no void id has."""
        return {}

    def sequence_of(self, name: str) -> str | None:
        """Return the sequence that a frame belongs to; None if there are no sequences."""
        return None

    def group_of(self, name: str) -> str:
        """Return the group that a frame belongs to; a bootstrap draws groups, not frames."""
        return self.sequence_of(name) or name

    def object_mask(self, name: str) -> Path | None:
        """Return the mask of an object on the road, 0 elsewhere; the file need not exist."""
        return None

    def has_unknown_object(self, name: str) -> bool:
        """Return whether the object in the mask is unknown (of no class) instead of ordinary."""
        return False

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int, /) -> Sample:
        name = self.names[index]
        sample = self.read(name) if self.cache is None else self.cache.get(self, name)
        return sample if self.shift is None else apply_shift(self.shift, sample)

    def shifted(self, shift: str | None) -> DataSet:
        """Return these frames with another shift; RegistryError if there is no such shift."""
        changed = copy.copy(self)
        changed.shift = None if shift is None else SHIFTS.check(shift)
        return changed

    def select(self, indices: Iterable[int]) -> DataSet:
        """Return a part of this data set, in the order of `indices`."""
        part = copy.copy(self)
        part.names = [self.names[index] for index in indices]
        return part


DATASETS: Registry[type[DataSet]] = Registry("data set")
"""Data sets by the names that commands and configurations use."""


def default_root(kind: str) -> Path:
    """Return the default folder of a data set."""
    return Path("data") / kind


def open_dataset(
    kind: str,
    root: str | Path,
    split: str,
    max_depth: float | None = None,
    limit: int | None = None,
    *,
    sequences: int | None = None,
    rest: bool = False,
    labelled: bool = True,
) -> DataSet:
    """Open a split, or an evenly spread part of it that depends on the arguments alone.

    Args:
        kind: Name in `DATASETS`.
        root, max_depth, labelled: As for `DataSet`.
        split: Name of the split, or SPLIT+SHIFT with a name in `SHIFTS`: its images are changed.
        limit: Take at most this many frames, spread evenly.
        sequences: Take at most this many sequences, spread evenly; `limit` then applies to their
            frames. Fewer sequences have fewer different scenes.
        rest: Take what `sequences` and `limit` leave out instead. With `sequences` no frame is of
            one of their sequences.

    Raises:
        RegistryError: There is no such kind of data set, or no such shift.
        DataError: An argument is out of range, the data is missing, or no frame is left.
    """
    for name, value in (("max_depth", max_depth), ("limit", limit), ("sequences", sequences)):
        if value is not None and not value > 0:
            raise DataError(f"Expected {name} to be positive, but got {value}.")
    if rest and limit is None and sequences is None:
        raise DataError(
            "Expected limit or sequences together with rest: without them no frame of "
            f"{split} is left out, so the rest is empty."
        )
    split, _, shift = split.partition("+")
    data = DATASETS[kind](root, split, max_depth, labelled).shifted(shift or None)
    if limit is None and sequences is None:
        return data
    sequence_names = [data.sequence_of(name) for name in data.names]
    if sequences is not None and None in sequence_names:
        raise DataError(f"The data set {kind} has no sequences to choose from: set limit alone.")
    indices = choose([name or "" for name in sequence_names], limit, sequences, rest)
    if not indices:
        raise DataError(
            f"No frame of {root}, {split} is left: limit and sequences take all frames."
        )
    return data.select(indices)


def choose(
    sequence_of_frame: Sequence[str], limit: int | None, sequences: int | None, rest: bool = False
) -> list[int]:
    """Choose frames as `open_dataset` does; return their indices, ascending."""
    every = sorted(set(sequence_of_frame))
    chosen = {every[i] for i in evenly(len(every), sequences)}
    candidates = [i for i, name in enumerate(sequence_of_frame) if name in chosen]
    picked = {candidates[i] for i in evenly(len(candidates), limit)}
    if not rest:
        return sorted(picked)
    if sequences is None:
        return [i for i in range(len(sequence_of_frame)) if i not in picked]
    return [i for i, name in enumerate(sequence_of_frame) if name not in chosen]


def evenly(count: int, wanted: int | None) -> list[int]:
    """Return `wanted` of `count` indices, each from the middle of an equal share.

    >>> evenly(10, 3)
    [1, 5, 8]
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]
