"""Write a data set of folders (`kind: folder`), so that an interrupted run can continue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ruamel.yaml import YAML

from emu_core.bags.errors import BagError
from emu_core.files import read_json, visible_entries, write_atomically, write_json
from emu_core.recordings.options import ConversionOptions

_DATASET, _CAMERAS, _RECORD = "dataset.yaml", "cameras.json", "bag_to_dataset.json"
_IMAGE_SUFFIXES = (".jpg", ".png")


class DatasetFolder:
    """The folder of a data set. dataset.yaml is its last file: without it, it is incomplete.

    An image is the last file of its frame: frames with an image are complete.

    Args:
        options: Options of the conversion.

    Raises:
        BagError: The folder holds something else, or it was written with other options.
    """

    def __init__(self, options: ConversionOptions) -> None:
        self.root = root = options.output
        record = read_json(root / _RECORD)
        if root.exists() and not root.is_dir():
            raise BagError(f"{root} is a file: choose another --output")
        if record is None and root.exists() and visible_entries(root):
            raise BagError(f"{root} is not empty and not of bag_to_dataset: choose another folder")
        if (root / _DATASET).exists() and not options.resume:
            raise BagError(
                f"{root} is a complete data set: choose another --output, or add the frames of "
                "these bags with --resume"
            )
        before, now = (record or {}).get("options"), options.stored()
        if before is not None and before != now:
            changed = [name for name in now if before.get(name) != now[name]]
            values = ", ".join(
                f"--{name.replace('_', '-')} {before.get(name)} (now {now[name]})"
                for name in changed
            )
            raise BagError(
                f"{root} was written with {values}: use the same options or another --output"
            )
        self._bags: dict[str, Any] = (record or {}).get("bags", {})
        self._cameras: dict[str, Any] = read_json(root / _CAMERAS) or {}
        self._options = now

    def begin(self, cameras: Mapping[str, Mapping[str, float]]) -> None:
        """Create the folder, and add the cameras of its folders of images."""
        self._cameras = {**cameras, **self._cameras}
        self._write_record()
        if self._cameras:
            write_json(self.root / _CAMERAS, self._cameras)

    def has(self, name: str) -> bool:
        """Whether a frame is complete."""
        image = self.root / "images" / name
        return any(image.with_name(image.name + suffix).exists() for suffix in _IMAGE_SUFFIXES)

    def write_frame(
        self,
        name: str,
        image: tuple[str, bytes],
        depth: np.ndarray | None,
        labels: np.ndarray | None,
        camera: Mapping[str, float] | None,
    ) -> None:
        """Write the files of a frame.

        Args:
            name: Path below images/ without suffix.
            image: Suffix and content of the image.
            depth: Code of the depth, uint16 (H, W).
            labels: Class ids, uint8 (H, W).
            camera: Its camera; a file is written if its folder has another one.
        """
        for folder, array in (("depth", depth), ("labels", labels)):
            if array is not None:
                content = cv2.imencode(".png", array)[1].tobytes()
                self._write(f"{folder}/{name}.png", content)
        if camera is not None and camera != self._cameras.get(name.rpartition("/")[0]):
            write_json(self.root / "cameras" / f"{name}.json", camera)
        suffix, content = image
        self._write(f"images/{name}{suffix}", content)

    def finish(self, bags: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        """Record the bags, and write dataset.yaml, or add the new splits to it."""
        self._bags.update(bags)
        self._write_record()
        yaml, path = YAML(), self.root / _DATASET
        yaml.preserve_quotes = True
        merged = dict(content)
        if path.exists():  # with people's changes
            merged = yaml.load(path.read_text(encoding="utf-8")) or {}
            splits = merged.setdefault("splits", {})
            for split, patterns in content["splits"].items():
                splits.setdefault(split, patterns)

        def dump(part: Path) -> None:
            with part.open("w", encoding="utf-8") as stream:
                yaml.dump(merged, stream)

        write_atomically(path, dump)

    def write_classes(self, table: Mapping[str, Any]) -> None:
        """Write a class table beside dataset.yaml."""
        write_atomically(
            self.root / "classes.yaml",
            lambda part: YAML().dump(dict(table), part),
        )

    def _write(self, path: str, content: bytes) -> None:
        write_atomically(self.root / path, lambda part: part.write_bytes(content))

    def _write_record(self) -> None:
        write_json(self.root / _RECORD, {"options": self._options, "bags": self._bags})
