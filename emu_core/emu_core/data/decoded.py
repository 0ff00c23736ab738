"""Decoded frames on disk: each is decoded once, not in every epoch for every member.

A frame of 512 × 1024 takes 19 ms of CPU time to decode, and 3 ms to read once that is done. All
members, students, workers and processes may share one folder, and any number of data sets: a
file's name tells what it was decoded from, and how. Where that has changed since, another file is
asked for, and what is there is never taken for it.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from emu_core.data.sample import DataSet, Sample, unlabelled
from emu_core.files import replace_file

_FORMAT = "image, labels, depth; name, focal"  # files of another one have other names


class Decoded:
    """A data set whose samples are read from `folder` once they were decoded.

    A folder that takes no more costs a warning and the time to decode, never the training.

    Args:
        data: what is decoded.
        folder: made if it is not there. A labelled frame needs 8 bytes per pixel, 16 MB at
            1024 × 2048, one without labels 3.
    """

    def __init__(self, data: DataSet, folder: str | Path):
        self.data, self.folder = data, Path(folder)
        self.classes, self.max_depth, self.labelled = data.classes, data.max_depth, data.labelled
        self.names = data.names
        self._takes_more = True

    def files(self, index: int) -> list[Path]:
        """What a sample is decoded from."""
        return self.data.files(index)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        path = self._path(index)
        kept = _read(path)
        if kept is not None:
            return kept
        sample = self.data[index]
        if self._takes_more:
            self._keep(path, sample)
        return sample

    def _path(self, index: int) -> Path:
        name = self.names[index]
        origin = [_FORMAT, self.max_depth, self.labelled, *map(_state, self.files(index))]
        digest = hashlib.blake2b(json.dumps(origin).encode(), digest_size=8).hexdigest()
        return self.folder / f"{name}-{digest}.safetensors"

    def _keep(self, path: Path, sample: Sample) -> None:
        about = {"name": sample.name, "focal": json.dumps(sample.focal)}
        maps = {"image": sample.image}
        if sample.labelled:
            maps |= {"labels": sample.labels, "depth": sample.depth}
        maps = {name: np.ascontiguousarray(map_) for name, map_ in maps.items()}
        try:
            replace_file(path, lambda unfinished: save_file(maps, unfinished, about))
        except (OSError, SafetensorError) as error:
            self._takes_more = False
            warnings.warn(
                f"{self.folder} takes no more decoded frames ({error}): the others are decoded in "
                "every epoch. Make room there, or set data.cache to another folder.",
                stacklevel=3,
            )


def _state(path: Path) -> list[str | int]:
    """What tells a file from its earlier and later contents; of a missing one its path alone."""
    try:
        there = path.stat()
    except OSError:
        return [str(path.absolute())]
    return [str(path.absolute()), there.st_size, there.st_mtime_ns]


def _read(path: Path) -> Sample | None:
    """The sample of a file; None if there is none, or if it is damaged."""
    try:
        with safe_open(path, "np") as file:
            about = file.metadata()
            maps = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        fx, fy = json.loads(about["focal"])
        if "labels" not in maps:
            return unlabelled(about["name"], maps["image"], (fx, fy))
        return Sample(about["name"], maps["image"], maps["labels"], maps["depth"], (fx, fy))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
