"""Mixtures: the training frames of one or several data sets, with shares and a common model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from emu_core.data.datasets import DataSet, PinholeCamera
from emu_core.data.label_space import wide_sets
from emu_core.data.sample import DataError, Sample
from emu_core.labels import ClassTable


class Mixture:
    """Samples of several data sets, one after the other; their labels are codes of one table.

    Args:
        parts: The data sets. They map their labels to the same model classes.
        shares: Share of each data set in the training, above 0; None: each frame equally often.
        styles: Whether the crops of the other data sets take the look of each, see
            `appearance.partners`; None: of none.

    Raises:
        DataError: The data sets map to different classes, or to too many sets of classes.
    """

    def __init__(
        self,
        parts: Sequence[DataSet],
        shares: Sequence[float] | None = None,
        styles: Sequence[bool] | None = None,
    ) -> None:
        self.parts, self.shares = list(parts), None if shares is None else list(shares)
        self.styles = [False] * len(self.parts) if styles is None else list(styles)
        self.classes: ClassTable = self.parts[0].space.model
        for part in self.parts:
            if part.space.model.names != self.classes.names:
                raise DataError(
                    f"{self.parts[0].title} has the classes of {self.classes.dataset}, but "
                    f"{part.title} those of {part.space.model.dataset}: set data.classes."
                )
        self.sets = wide_sets(part.space for part in self.parts)
        """Sets of train ids that a code above the classes stands for, see `LabelSpace.codes`."""
        if len(self.classes) + len(self.sets) > 255:
            raise DataError(
                f"The mappings have {len(self.sets)} different sets of classes beside the "
                f"{len(self.classes)} classes; a label image has room for 255 in all."
            )
        self._codes = [part.space.codes(self.sets) for part in self.parts]
        self._plain = [part.space.is_identity for part in self.parts]
        self._ends = list(accumulate(map(len, self.parts)))

    @property
    def max_depth(self) -> float:
        """Largest valid depth of the data sets, metres."""
        return max(part.max_depth for part in self.parts)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int, /) -> Sample:
        part, place = self.locate(index)
        sample = self.parts[part][place]
        labels = sample.labels if self._plain[part] else self._codes[part][sample.labels]
        return replace(sample, labels=labels, part=part)

    def locate(self, index: int) -> tuple[int, int]:
        """Return the data set of a frame, and its index there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self._ends, index, side="right"))
        return part, index - (self._ends[part - 1] if part else 0)

    def cameras(self) -> list[PinholeCamera]:
        """Return the known cameras of all frames."""
        found = (part.camera(name) for part in self.parts for name in part.names)
        return [camera for camera in found if camera is not None]

    def with_labels(self) -> list[int]:
        """Return the indices of the frames that have ground truth of the classes."""
        return self._frames(lambda part, name: part.has_labels(name))

    def with_depth(self) -> list[int]:
        """Return the indices of the frames that have ground truth of the depth."""
        return self._frames(lambda part, name: part.has_depth(name))

    def _frames(self, has: Callable[[DataSet, str], bool]) -> list[int]:
        every = ((part, name) for part in self.parts for name in part.names)
        return [i for i, (part, name) in enumerate(every) if has(part, name)]
