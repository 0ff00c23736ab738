"""The options of the data: one data set or a mixture, and how frames become network input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from emu_core.data.appearance.shifts import SHIFTS
from emu_core.data.augment import MIN_SIZE, Augmentation
from emu_core.data.datasets import DATASETS, DataSet, SplitNames, default_root, open_dataset
from emu_core.data.description import read_yaml
from emu_core.data.label_space import LabelSpace
from emu_core.data.mixture import Mixture
from emu_core.data.sample import DataError, MissingSplitError
from emu_core.labels import CITYSCAPES, ClassTable, load_classes
from emu_core.options import above, at_least

PLACE: dict[str, Any] = {"role": "place"}
"""Metadata of a field that the trained weights do not depend on."""


@dataclass(frozen=True)
class Selection:
    """A data set, and what a training takes of it.

    Args:
        kind: Data set: cityscapes, nyuv2, drives, folder, or one of a plugin.
        root: Folder of the data set; null: data/KIND.
        max_depth: Ground truth beyond this depth is invalid, metres; null: the data set's default.
        limit: Maximum number of training frames.
        sequences: Maximum number of training sequences.
        mapping: YAML file that maps the data set's classes to those of the model: a name, several
            names, or ignore; null: equal names and aliases, or the mapping of the data set.
    """

    kind: str = "drives"
    root: Path = field(default=None, metadata=PLACE)  # type: ignore[assignment]
    max_depth: float | None = field(default=None, metadata=above(0))
    limit: int | None = field(default=None, metadata=at_least(1))
    sequences: int | None = field(default=None, metadata=at_least(1))
    mapping: Path | None = None

    def __post_init__(self) -> None:
        DATASETS.check(self.kind)
        if self.root is None:
            object.__setattr__(self, "root", default_root(self.kind))


@dataclass(frozen=True)
class Source(Selection):
    """A data set of a mixture.

    Args:
        share: Share of the training, relative to the others; null for all: each frame equally
            often.
        unlabelled: Frames for a student alone, which learns them from its teacher; their ground
            truth is not read.
        style: Whether crops of the other data sets take the look of this one, and crops of this
            one their objects, see `augmentation.appearance`.
        shift: Change of the training images, one of `SHIFTS` (docs/method.md, Shifts); null: none.
            With `unlabelled`, a student learns the changed images from its teacher alone.
    """

    share: float | None = field(default=None, metadata=above(0))
    unlabelled: bool = False
    style: bool = False
    shift: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shift is not None:
            SHIFTS.check(self.shift)

    @property
    def training_split(self) -> str:
        """The split that trains, with its shift; see `open_dataset`."""
        split = self.split_names.training
        return split if self.shift is None else f"{split}+{self.shift}"

    @property
    def split_names(self) -> SplitNames:
        """The splits of the data set by their use."""
        return DATASETS[self.kind].split_names(self.root)

    def open(
        self, split: str, classes: ClassTable | None, limit: int | None = None, **choice: Any
    ) -> DataSet:
        """Open a split, with its labels mapped to a class table; arguments as `open_dataset`.

        Raises:
            DataError: The data is missing, or a class has no counterpart in the table.
        """
        data = open_dataset(self.kind, self.root, split, self.max_depth, limit, **choice)
        if classes is None and self.mapping is None:
            return data
        model, mapping = classes or data.space.model, None
        if self.mapping is not None:
            mapping = read_yaml(self.mapping)
        elif data.space.model.names == model.names:
            return data
        names = data.classes.names if data.labelled and not self.unlabelled else ()
        try:
            data.space = LabelSpace.of(names, model, mapping)
        except DataError as error:
            raise DataError(f"{self.root}: {error}") from error
        return data


@dataclass(frozen=True)
class Data(Selection):
    """The data set or the mixture of data sets, and how its frames become network input.

    Args:
        mixture: Several data sets instead of this one. Each has its own kind, root, max_depth,
            limit, sequences, mapping, share, unlabelled and style.
        classes: Class table of the model: cityscapes, nyuv2, or a YAML file; null: that of the
            data set.
        augmentation: Input size, canonical focal length and random augmentation
        variants: Number of augmentations of each frame; null: new ones in every epoch.
        validation_size: (height, width) of whole images in validation, if the network is
            trained on crops of images resized to `augmentation.image_width`.
        batch: Images per step, over all processes.
        workers: Processes that load images.
        cache: Folder for decoded frames, shared by epochs and members; null decodes every frame in
            every epoch.
    """

    mixture: tuple[Source, ...] = ()
    classes: str | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    variants: int | None = field(default=None, metadata=at_least(1))
    validation_size: tuple[int, int] | None = field(default=None, metadata=at_least(MIN_SIZE))
    batch: int = field(default=8, metadata=at_least(1))
    workers: int = field(default=1, metadata=PLACE | at_least(0))
    cache: Path | None = field(default=None, metadata=PLACE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation_size is not None and self.augmentation.image_width is None:
            raise ValueError(
                "data.validation_size needs data.augmentation.image_width: without it, images are "
                "resized to the width of the input, and objects would have another size."
            )
        if self.mixture:
            self._check_mixture()
        look = self.augmentation.appearance
        styles = {source.style for source in self.mixture if not source.unlabelled}
        for name in ("fourier", "class_mix"):
            if getattr(look, name) and len(styles) < 2:
                raise ValueError(
                    f"data.augmentation.appearance.{name} needs data.mixture with `style: true` "
                    "for some of its labelled data sets, and without it for others."
                )

    def _check_mixture(self) -> None:
        for name in ("max_depth", "limit", "sequences", "mapping"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"data.{name} has no effect beside data.mixture: set it for each data set of "
                    "the mixture."
                )
        shares = [source.share for source in self.mixture]
        if None in shares and any(shares):
            raise ValueError(
                "Give each data set of data.mixture a share, or none of them; got "
                f"{', '.join(f'{s.root}: {s.share}' for s in self.mixture)}."
            )
        if all(source.unlabelled for source in self.mixture):
            raise ValueError("All data sets of data.mixture are unlabelled: no truth is left.")

    @property
    def whole_images(self) -> Augmentation:
        """How whole images become network input in validation and test."""
        if self.validation_size is None:
            return self.augmentation
        height, width = self.validation_size
        return replace(self.augmentation, height=height, width=width)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The data sets: those of the mixture, or the only one."""
        if self.mixture:
            return self.mixture
        return (Source(**{each.name: getattr(self, each.name) for each in fields(Selection)}),)

    @property
    def roots(self) -> str:
        """The folders of the data sets, for messages."""
        return ", ".join(str(source.root) for source in self.sources)

    @property
    def class_table(self) -> ClassTable | None:
        """The class table that `classes` names; None for that of the data sets."""
        return None if self.classes is None else load_classes(self.classes)

    def open_training(
        self, *, rest: bool = False, labelled: bool = True, unlabelled: bool = False
    ) -> Mixture:
        """Open the training frames.

        Args:
            rest: Open those that `limit` and `sequences` leave out instead.
            labelled: Whether to read ground truth.
            unlabelled: Also open the data sets of the mixture that a student alone learns.
        """
        taken = [source for source in self.sources if unlabelled or not source.unlabelled]
        parts = [
            self._open(
                source,
                source.training_split,
                source.limit,
                sequences=source.sequences,
                rest=rest,
                labelled=labelled and not source.unlabelled,
            )
            for source in taken
        ]
        shares = [source.share for source in taken if source.share is not None]
        return Mixture(with_one_model(parts), shares or None, [each.style for each in taken])

    def open_validation(self) -> list[DataSet]:
        """Open the validation frames of each data set that has some; DataError if none has."""
        return self.open_held_out("validation")

    def open_held_out(self, use: str) -> list[DataSet]:
        """Open the split of each data set for a use of `SplitNames`; DataError if none has it."""
        found = []
        for source in self.sources:
            split = getattr(source.split_names, use)
            if split is not None and not source.unlabelled:
                found.append(self._open(source, split))
        if not found:
            raise DataError(
                f"No data set has a split for {use}: {self.roots}. Add one to `splits` in "
                "dataset.yaml, e.g. val."
            )
        return with_one_model(found)

    def open_calibration(self, roots: Sequence[Path] = ()) -> list[DataSet]:
        """Open the frames that uncertainties are calibrated on.

        Args:
            roots: Folders of the data sets; none for all that have such frames.

        Raises:
            DataError: A folder has no such frames, or none has.
        """
        parts = self.open_held_out("calibration")
        if unknown := [str(root) for root in roots if root not in [part.root for part in parts]]:
            there = ", ".join(str(part.root) for part in parts)
            raise DataError(
                f"{', '.join(unknown)}: no frames for a calibration; the training has such frames "
                f"in {there}."
            )
        return [part for part in parts if not roots or part.root in roots]

    def open_scored(self, splits: Sequence[str] | None = None) -> dict[str, DataSet]:
        """Open the frames to report metrics on, without the cache.

        Args:
            splits: Names of splits, of which a mixture's data set may lack some; None for the test
                split of each data set.

        Returns:
            Data sets by the name of the split; in a mixture by the names of data set and split.

        Raises:
            DataError: There is no such split, or the data is missing.
        """
        found: list[DataSet] = []
        for source in self.sources:
            names = [source.split_names.test] if splits is None else splits
            for name in filter(None, names):
                try:
                    found.append(source.open(name, self.class_table))
                except MissingSplitError:
                    if not self.mixture:
                        raise
        missing = [s for s in splits or () if s not in {data.split_title for data in found}]
        if missing or not found:
            raise DataError(
                f"No data set of {self.roots} has the split {', '.join(missing) or 'test or val'}."
            )
        names = [data.split_title for data in found]
        if self.mixture:
            names = unique([f"{data.title}-{data.split_title}" for data in found])
        return dict(zip(names, with_one_model(found), strict=True))

    def open(self, split: str, limit: int | None = None, **choice: Any) -> DataSet:
        """Open a split of the only data set; arguments as `open_dataset`."""
        if self.mixture:
            raise ValueError(f"A mixture has no split {split!r} of its own.")
        return with_one_model([self._open(self.sources[0], split, limit, **choice)])[0]

    def _open(
        self, source: Source, split: str, limit: int | None = None, **choice: Any
    ) -> DataSet:
        frames = source.open(split, self.class_table, limit, **choice)
        if self.cache is None:
            return frames
        from emu_core.data.decoded import cached  # needs safetensors, which a robot lacks

        return cached(frames, self.cache)

    @property
    def split_names(self) -> SplitNames:
        """The splits of the data set by their use; of a mixture, those of the first one."""
        return self.sources[0].split_names

    @property
    def test_split(self) -> str | None:
        """The split that metrics are reported on."""
        return self.split_names.test


def unique(names: Sequence[str]) -> list[str]:
    """Add numbers to names that occur several times."""
    return [
        name if names.count(name) == 1 else f"{name}-{names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]


def with_one_model(parts: list[DataSet]) -> list[DataSet]:
    """Give data sets without classes, which have no labels, the class table of the others."""
    models = [part.space.model for part in parts if len(part.space.model)]
    for part in parts:
        if not len(part.space.model):
            part.space = LabelSpace((), models[0] if models else CITYSCAPES, ())
    return parts
