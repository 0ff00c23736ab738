"""How configurations name a data set, and how a run takes a part of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from emu_core.data import cityscapes, nyuv2
from emu_core.data.cityscapes import Cityscapes
from emu_core.data.nyuv2 import NYUv2
from emu_core.data.sample import DataError, DataSet, Sample

Kind = Literal["cityscapes", "nyuv2", "drives"]
"""cityscapes: the real one; nyuv2: either form of `data/nyuv2.py`; drives: rendered ones."""

MAX_DEPTHS: dict[Kind, float] = {
    "cityscapes": cityscapes.MAX_DEPTH,
    "nyuv2": nyuv2.MAX_DEPTH,
    "drives": cityscapes.MAX_DEPTH,
}
"""Default limit of valid ground truth, metres."""

VALIDATION_SPLITS: dict[Kind, str] = {"cityscapes": "val", "nyuv2": "test", "drives": "val"}
"""What a training is watched on. NYUv2 has no val: choose no weights by its figures, or they are
chosen on test."""


def open_dataset(
    kind: Kind,
    root: str | Path,
    split: str,
    max_depth: float | None = None,
    limit: int | None = None,
    *,
    sequences: int | None = None,
    rest: bool = False,
    labelled: bool = True,
) -> DataSet:
    """A split, or an evenly spread part of it that depends on the arguments alone.

    Args:
        kind: which data set.
        root: its folder.
        split: train, val, test, …
        max_depth: farther ground truth is invalid, metres; None for the kind's default.
        limit: at most so many frames, spread evenly over what there is.
        sequences: at most so many sequences (drives), spread evenly; `limit` then applies to
            their frames. Fewer sequences make fewer different scenes.
        rest: what `sequences` and `limit` leave out instead: frames that a training with them
            has not seen. With `sequences` no frame comes from one of theirs.
        labelled: False yields images alone, all labels ignored and all depths NaN.

    Raises:
        DataError: an unknown kind or a senseless argument; no such data; sequences of NYUv2; the
            rest of everything.
    """
    if kind not in MAX_DEPTHS:
        raise DataError(f"Expected a data set of {', '.join(MAX_DEPTHS)}, but got {kind!r}.")
    limits = {"max_depth": max_depth, "limit": limit, "sequences": sequences}
    for name, value in limits.items():
        if value is not None and not value > 0:
            raise DataError(f"Expected {name} to be positive, but got {value}.")
    if rest and limit is None and sequences is None:
        raise DataError(
            "Expected limit or sequences with rest: where neither leaves anything out of "
            f"{split}, there is no rest."
        )
    if kind == "nyuv2" and sequences is not None:
        raise DataError("NYUv2 has no sequences to choose from: give limit alone.")
    open_split = NYUv2 if kind == "nyuv2" else Cityscapes
    data: DataSet = open_split(root, split, max_depth or MAX_DEPTHS[kind], labelled)
    if limit is None and sequences is None:
        return data
    indices = choose(data.names, limit, sequences, rest)
    if not indices:
        raise DataError(f"Nothing is left of {root}, {split}: limit and sequences take it all.")
    return Selection(data, indices)


class Selection:
    """Some samples of a data set, in its order."""

    def __init__(self, data: DataSet, indices: Sequence[int]):
        self.data, self.indices = data, list(indices)
        self.classes, self.max_depth, self.labelled = data.classes, data.max_depth, data.labelled

    @property
    def names(self) -> list[str]:
        """Each sample's name."""
        names = self.data.names
        return [names[i] for i in self.indices]

    def files(self, index: int) -> list[Path]:
        """What a sample is read from."""
        return self.data.files(self.indices[index])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.data[self.indices[index]]


def choose(
    names: Sequence[str], limit: int | None, sequences: int | None, rest: bool = False
) -> list[int]:
    """Indices of the chosen names, in order; arguments as in `open_dataset`.

    A name without its last part (CITY_SEQUENCE of CITY_SEQUENCE_FRAME) is its sequence.
    """
    sequence = [name.rpartition("_")[0] for name in names]
    every = sorted(set(sequence))
    chosen = {every[i] for i in evenly(len(every), sequences)}
    candidates = [i for i, name in enumerate(sequence) if name in chosen]
    picked = {candidates[i] for i in evenly(len(candidates), limit)}
    if not rest:
        return sorted(picked)
    if sequences is None:
        return [i for i in range(len(names)) if i not in picked]
    return [i for i, name in enumerate(sequence) if name not in chosen]


def evenly(count: int, wanted: int | None) -> list[int]:
    """`wanted` of `count` indices, each from the middle of an equal share; all where that is less.

    >>> evenly(10, 3)
    [1, 5, 8]
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]
