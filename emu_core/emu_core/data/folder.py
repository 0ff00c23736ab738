"""A data set from folders of images, labels and depth, for one's own frames (docs/own_data.md).

    ROOT/dataset.yaml
    ROOT/images/**/NAME.{jpg,jpeg,png}   8-bit colour
    ROOT/labels/**/NAME.png              8-bit ids: grey, or a palette PNG, read as its indices
    ROOT/depth/**/NAME.png               16-bit grey, metres × depth.scale, 0: none
    ROOT/depth/**/NAME.npy               or float32, metres, NaN or 0: none
    ROOT/cameras.json                    cameras by folder below images, and/or
    ROOT/cameras/**/NAME.json            the camera of one frame

A camera is {"width", "height", "fx", "fy"} in pixels of that size; an image of another size with
the same aspect ratio is a resized copy. Labels, depth and camera may be missing for any frame. The
name of a frame is its path below images without the suffix, e.g. front_camera/07.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from emu_core.data.datasets import DATASETS, DataSet, PinholeCamera, SplitNames
from emu_core.data.description import (
    DESCRIPTION,
    MAX_DEPTH,
    class_table,
    read_description,
    read_json,
)
from emu_core.data.label_space import LabelSpace
from emu_core.data.sample import (
    DataError,
    MissingSplitError,
    Sample,
    existing_file,
    image_size,
    partial_sample,
    read_grey,
    read_image,
)
from emu_core.files import visible_files
from emu_core.labels import TABLES, load_classes

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
VOID_IDS = (0, 255)  # unlabelled, unless a class has them
_ASPECT_TOLERANCE = 0.01
_LISTED = 8  # folders in a message


@DATASETS.register("folder")
class FolderDataSet(DataSet):
    """A split of a folder data set. Without `splits` in dataset.yaml, all frames are in train."""

    default_max_depth = MAX_DEPTH

    def __init__(
        self, root: str | Path, split: str, max_depth: float | None = None, labelled: bool = True
    ) -> None:
        self.about = read_description(root)
        self.classes = class_table(self.about)
        if max_depth is None:
            max_depth = self.about.depth_limit
        super().__init__(root, split, max_depth, labelled)
        self.image_source = f"images of {self.about.name}"
        self.license, self.attribution = self.about.license, self.about.attribution
        if self.about.maps_to is not None:
            model = load_classes(_beside(self.root, self.about.maps_to))
            self.space = LabelSpace.of(self.classes.names, model, self.about.mapping)

    @classmethod
    def split_names(cls, root: Path) -> SplitNames:
        """Return the splits that dataset.yaml defines."""
        splits = read_description(root).splits
        validation = "val" if "val" in splits else None
        return SplitNames(
            validation=validation,
            test="test" if "test" in splits else validation,
            calibration="calibration" if "calibration" in splits else validation,
        )

    @property
    def title(self) -> str:
        return self.about.name

    @cached_property
    def _images(self) -> dict[str, Path]:
        return find_files(self.root / "images", IMAGE_SUFFIXES)

    def list_names(self) -> list[str]:
        if not self._images:
            raise DataError(
                f"No image in {self.root / 'images'}: expected .jpg, .jpeg or .png files there or "
                "in its subfolders."
            )
        splits = self.about.splits or {"train": ["*"]}
        if self.split not in splits:
            raise MissingSplitError(
                f"{self.root / DESCRIPTION} has no split {self.split}; it has "
                f"{', '.join(splits)}. Add patterns of frame names to `splits`."
            )
        found = {
            split: {
                name
                for name in self._images
                if any(name == p or fnmatchcase(name, p) for p in patterns)
            }
            for split, patterns in splits.items()
        }
        for other, names in found.items():
            if other != self.split and (both := names & found[self.split]):
                raise DataError(
                    f"{self.root / DESCRIPTION}: {len(both)} frames are in the splits "
                    f"{self.split} and {other}, e.g. {min(both)}."
                )
        if not found[self.split]:
            raise DataError(
                f"{self.root / DESCRIPTION}: no frame matches the split {self.split} "
                f"({', '.join(splits[self.split])}); frames are named like "
                f"{next(iter(self._images))}."
            )
        return sorted(found[self.split])

    def read(self, name: str) -> Sample:
        path = self._images[name]
        image = read_image(path, cv2.IMREAD_COLOR)[..., ::-1]
        shape, labels, depth = image.shape[:2], None, None
        camera = self._camera(name, shape)
        if self.has_labels(name):
            labels = self.classes.to_train_ids(self._checked(self._labels[name], shape, read_ids))
        if self.has_depth(name):
            metres = self._checked(self._depths[name], shape, self._read_depth)
            valid = (metres > 0) & (metres <= self.max_depth)  # also refuses NaN
            depth = np.where(valid, metres, np.float32(np.nan))
        focal = None if camera is None else (camera.fx, camera.fy)
        return partial_sample(name, image, focal, labels, depth)

    def has_labels(self, name: str) -> bool:
        return self.labelled and name in self._labels

    def has_depth(self, name: str) -> bool:
        return self.labelled and name in self._depths and self._camera_of(name) is not None

    def unknown_ids(self, name: str) -> dict[int, int]:
        counts = np.bincount(read_ids(self._labels[name]).ravel(), minlength=256)
        known = {*self.classes.dataset_ids, *VOID_IDS}
        return {int(k): int(counts[k]) for k in np.flatnonzero(counts) if k not in known}

    def files(self, name: str) -> list[Path]:
        own = [self.root / "cameras" / f"{name}.json", self.root / "cameras.json"]
        maps = (self._labels, self._depths) if self.labelled else ()
        return [
            self._images[name],
            *(found[name] for found in maps if name in found),
            *(path for path in own if path.is_file()),
            self.root / DESCRIPTION,
        ]

    def camera(self, name: str) -> PinholeCamera | None:
        return self._camera(name, None)

    def sequence_of(self, name: str) -> str | None:
        return name.rpartition("/")[0] or None

    def group_of(self, name: str) -> str:
        """Return what frames have in common by `group_by` of dataset.yaml."""
        return name.rpartition("/")[2] if self.about.group_by == "name" else super().group_of(name)

    @cached_property
    def _labels(self) -> dict[str, Path]:
        found = find_files(self.root / "labels", (".png",))
        if found and not self.classes.names:
            raise DataError(
                f"{self.root / DESCRIPTION} has no `classes`, but {self.root / 'labels'} has "
                "labels: name the ids, e.g. {1: road, 2: car}."
            )
        return found

    @cached_property
    def _depths(self) -> dict[str, Path]:
        return find_files(self.root / "depth", (".png", ".npy"))

    @cached_property
    def _cameras(self) -> dict[str, dict[str, float]]:
        path = self.root / "cameras.json"
        if not path.is_file():
            return {}
        cameras = {
            PurePosixPath(folder.strip("/")).as_posix(): check_camera(each, f"{path}, {folder!r}")
            for folder, each in read_json(path).items()
        }
        folders = {PurePosixPath(name).parent.as_posix() for name in self._images}
        if cameras and folders.isdisjoint(cameras):
            raise DataError(
                f"{path} has cameras of {_listed(cameras)}, but the folders of images are "
                f"{_listed(folders)}."
            )
        return cameras

    def _camera(self, name: str, shape: tuple[int, int] | None) -> PinholeCamera | None:
        if (found := self._camera_of(name)) is None:
            return None
        camera, origin = found
        height, width = shape or image_size(self._images[name])
        across, down = width / camera["width"], height / camera["height"]
        if abs(across / down - 1) > _ASPECT_TOLERANCE:
            raise DataError(
                f"{self._images[name]} is {width}×{height}, but its camera in {origin} is "
                f"{camera['width']:g}×{camera['height']:g}: do not crop images, or correct the "
                "camera."
            )
        return PinholeCamera(camera["fx"] * across, camera["fy"] * down, width, height)

    def _camera_of(self, name: str) -> tuple[dict[str, float], Path] | None:
        """The numbers of a frame's camera, and their file."""
        path, folder = self.root / "cameras" / f"{name}.json", PurePosixPath(name).parent
        if path.is_file():
            return check_camera(read_json(path), str(path)), path
        if (camera := self._cameras.get(folder.as_posix())) is not None:
            return camera, self.root / "cameras.json"
        return None

    def _read_depth(self, path: Path) -> np.ndarray:
        if path.suffix.lower() == ".npy":
            return _read_npy(path)
        raw = read_grey(path, np.uint16, "is it a preview? 8 bits are too few for depth")
        return raw.astype(np.float32) / np.float32(self.about.depth_scale)

    def _checked(self, path: Path, shape: tuple[int, ...], read: Any) -> np.ndarray:
        values = read(path)
        if values.shape != shape:
            raise DataError(
                f"{path} has {values.shape[1]}×{values.shape[0]} pixels, but its image has "
                f"{shape[1]}×{shape[0]}."
            )
        return values


def find_files(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """List files by their path below a folder without the suffix; hidden ones are left out.

    Raises:
        DataError: Two files have the same name but different suffixes.
    """
    found: dict[str, Path] = {}
    every = sorted(visible_files(folder)) if folder.is_dir() else []
    for path in every:
        if path.suffix.lower() not in suffixes:
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{found[name]} and {path} have the same name: remove one of them.")
        found[name] = path
    return found


def read_ids(path: Path) -> np.ndarray:
    """Read label ids, uint8 (H, W), from an 8-bit grey or a palette PNG."""
    with existing_file(path).open("rb") as file:
        head = file.read(26)  # bytes 24 and 25 of a PNG: bits per sample, colour type
    if head[25:26] == b"\x00" and head[24] < 8:  # OpenCV would stretch its values to 0…255
        raise DataError(f"{path}: expected 8-bit grey, but got {head[24]}-bit grey.")
    if head[25:26] != b"\x03":
        return read_grey(path, np.uint8, "is it a coloured picture instead of ids?")
    from PIL import Image  # OpenCV converts palette images to colours

    try:
        with Image.open(path) as image:
            return np.asarray(image, np.uint8)
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path} is damaged: {error}.") from error


def check_camera(camera: Any, where: str) -> dict[str, float]:
    """Return the numbers of a camera; DataError if one is missing or not above 0."""
    try:
        numbers = {key: float(camera[key]) for key in ("width", "height", "fx", "fy")}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} is not a camera ({type(error).__name__}: {error}): expected width, height, "
            "fx and fy in pixels."
        ) from error
    if not all(np.isfinite(number) and number > 0 for number in numbers.values()):
        raise DataError(f"{where}: width, height, fx and fy must be above 0, but got {numbers}.")
    return numbers


def _listed(folders: Iterable[str]) -> str:
    return ", ".join(sorted(folders)[:_LISTED])


def _beside(root: Path, source: str) -> str:
    """A class table's name, or the path of a file beside dataset.yaml."""
    path = root / source
    return source if source in TABLES or not path.is_file() else str(path)


def _read_npy(path: Path) -> np.ndarray:
    try:
        values = np.load(existing_file(path), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a NumPy file: {error}") from error
    if values.ndim != 2 or values.dtype.kind != "f":
        raise DataError(
            f"{path}: expected metres as float32 (H, W), but got {values.dtype} {values.shape}."
        )
    return values.astype(np.float32)
