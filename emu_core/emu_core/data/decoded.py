"""Decoded frames on disk: each frame is decoded once instead of in every epoch of every network.

Decoding a frame of 512 × 1024 takes 19 ms of CPU time, reading it back 3 ms. Networks, workers,
processes and data sets may share one folder: the name of a file depends on what it was decoded
from, and how. After a change the frame is decoded again into another file.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from emu_core.data.datasets import DataSet
from emu_core.data.sample import Sample, partial_sample
from emu_core.files import write_atomically

_FORMAT = "image as stored, labels, depth; name, focal"  # other content gets other file names


def cached(data: DataSet, folder: str | Path) -> DataSet:
    """Return the data set with a cache in `folder`, which is created if it is missing.

    A frame with ground truth needs 8 bytes per pixel, 16 MB at 1024 × 2048; a frame without 3.
    """
    with_cache = copy.copy(data)
    with_cache.cache = DecodedFrames(folder)
    return with_cache


class DecodedFrames:
    """A folder of decoded frames; if it cannot be written to, a warning is shown once."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._writable = True

    def get(self, data: DataSet, name: str) -> Sample:
        """Return a frame that was decoded before, or decode it and keep it."""
        files = data.files(name)
        if not files:  # nothing would show that the frame has changed
            return data.read(name)
        path = self._path(data, name, files)
        if (sample := _read(path)) is None:
            sample = data.read(name)
            if self._writable:
                self._write(path, sample)
        return sample

    def _path(self, data: DataSet, name: str, files: list[Path]) -> Path:
        kind, classes = type(data), data.classes
        origin = [
            *(_FORMAT, kind.__module__, kind.__qualname__, classes.names, classes.dataset_ids),
            *(data.max_depth, data.labelled, *map(_state, files)),
        ]
        digest = hashlib.blake2b(json.dumps(origin).encode(), digest_size=8).hexdigest()
        return self.folder / f"{name}-{digest}.safetensors"

    def _write(self, path: Path, sample: Sample) -> None:
        about = {"name": sample.name, "focal": json.dumps(sample.focal)}
        maps = {"image": sample.image}
        maps |= {"labels": sample.labels} if sample.labelled else {}
        maps |= {"depth": sample.depth} if sample.measured else {}
        maps = {name: np.ascontiguousarray(values) for name, values in maps.items()}
        try:
            write_atomically(path, lambda unfinished: save_file(maps, unfinished, about))
        except (OSError, SafetensorError) as error:
            self._writable = False
            warnings.warn(
                f"{self.folder}: cannot write decoded frames ({error}); the other frames are "
                "decoded in every epoch. Free some space, or set data.cache to another folder.",
                stacklevel=4,
            )


def _state(path: Path) -> list[str | int]:
    """What changes with the content of a file; of a missing file only the path."""
    try:
        stat = path.stat()
    except OSError:
        return [str(path.absolute())]
    return [str(path.absolute()), stat.st_size, stat.st_mtime_ns]


def _read(path: Path) -> Sample | None:
    """Read a decoded frame; None if the file is missing or damaged."""
    try:
        with safe_open(path, "np") as file:
            about = file.metadata()
            maps = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        focal = json.loads(about["focal"])
        return partial_sample(about["name"], focal=tuple(focal) if focal else None, **maps)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
