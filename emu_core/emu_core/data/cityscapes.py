"""Cityscapes' layout on disk, shared by the real data set and our rendered drives.

    ROOT/leftImg8bit/SPLIT/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png (or .jpg)
    ROOT/gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png
    ROOT/disparity/SPLIT/CITY/CITY_SEQUENCE_FRAME_disparity.png
    ROOT/camera/SPLIT/CITY/CITY_SEQUENCE_FRAME_camera.json

Disparity has 16 bits: value 0 is invalid, any other value v stands for d = (v − 1)/256 pixels, and
depth = baseline·fx/d with fx in pixels of the *original* image. Value 1 means infinity, so depth
is valid where v > 1 and depth is at most a limit.

Own frames may lie in other folders, of any depth below SPLIT, and may have other names: the four
files of a frame have the same name up to _leftImg8bit and so on, and the same folder.

The files may be resized copies of the official ones. Resize labels and disparity with nearest
neighbour, and change neither the values of disparity nor the camera files. Then depth stays the
same, and focal lengths are computed for the new size.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from emu_core.data.datasets import DATASETS, DataSet, PinholeCamera, SplitNames
from emu_core.data.image_files import existing_variant, find_images
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
from emu_core.files import expand, write_atomically
from emu_core.labels import CITYSCAPES, IGNORE

MAX_DEPTH = 80.0
"""Default limit of valid ground truth, metres."""

IMAGES = "leftImg8bit"
"""Folder of the images."""

OFFICIAL_SIZE = (1024, 2048)
"""Height and width that the official camera files and disparities refer to."""

OBJECT_MASK = "gtFine_object.png"
"""Suffix of a mask in gtFine of rendered drives: 255 on the object added to the scene."""

_VOID_IDS = 34  # ids below it that have no train id are void: 0 unlabelled … 30 trailer

_UNKNOWN_SEQUENCE = "000000"  # shows an unknown object; the other sequence an ordinary one
# Largest distance of the principal point from the centre, in image widths (Aachen: 0.036).
_MAX_CENTRE_OFFSET = 0.1

_NUMBERED = re.compile(r"_(\d+)_\d+$")  # _SEQUENCE_FRAME at the end of a name

_SUFFIXES = {
    "leftImg8bit": "leftImg8bit.png",
    "gtFine": "gtFine_labelIds.png",
    "disparity": "disparity.png",
    "camera": "camera.json",
}


@dataclass(frozen=True)
class CameraFile:
    """Content of `camera/*.json`: intrinsics in pixels of the original image, baseline in m."""

    fx: float
    fy: float
    u0: float
    v0: float
    baseline: float


@dataclass(frozen=True)
class FrameFiles:
    """The files of a frame, usually CITY/CITY_SEQUENCE_FRAME.

    Args:
        root: Folder of the data set.
        split: Name of the split.
        name: FOLDER/NAME below the split; NAME alone if it begins with the folder's name and "_",
            as in CITY/CITY_SEQUENCE_FRAME.
        image: The image that was listed; None for the path of the layout.
        folder: Folder below the split; None for the first part of the name.
    """

    root: Path
    split: str
    name: str
    image: Path | None = None
    folder: str | None = None

    @property
    def sequence(self) -> str:
        return _sequence_of(self.name)

    def path(self, folder: str, suffix: str | None = None) -> Path:
        """Return the path in one of the layout's folders, e.g. `path("disparity")`."""
        if folder == IMAGES and self.image is not None:
            return self.image
        parent, _, name = self.name.rpartition("/")
        parent = self.folder if self.folder is not None else parent or name.split("_")[0]
        file = f"{name}_{suffix or _SUFFIXES[folder]}"
        return existing_variant(self.root / folder / self.split / parent / file)


def list_frames(root: str | Path, split: str) -> list[FrameFiles]:
    """List the frames of a split, sorted by name; DataError if there is no split or no image."""
    root = Path(root)
    folder = root / IMAGES / split
    if not folder.is_dir():
        found = [p.name for p in expand(root / IMAGES / "*") if p.is_dir()]
        raise (MissingSplitError if found else DataError)(
            f"No folder {folder}. Expected Cityscapes' layout (from {IMAGES}_trainvaltest.zip, "
            "or rendered by training/render_drives.py); splits found: "
            f"{', '.join(found) or 'none'}."
        )
    images = find_images(folder, f"_{IMAGES}")
    if not images:
        raise DataError(f"No image in {folder}: expected CITY/*_{_SUFFIXES[IMAGES]}.")
    names = {key: _short_name(key) for key in images}
    counts = Counter(names.values())
    frames = []
    for key, image in images.items():
        name = names[key] if counts[names[key]] == 1 else key
        frames.append(FrameFiles(root, split, name, image, key.rpartition("/")[0]))
    return sorted(frames, key=lambda frame: frame.name)


def _sequence_of(name: str) -> str:
    """CITY_SEQUENCE; for names of another form than CITY_SEQUENCE_FRAME the folder."""
    return name.rpartition("_" if _NUMBERED.search(name) else "/")[0]


def _short_name(key: str) -> str:
    """Leave out the folder if the name of the file repeats it: CITY/CITY_SEQUENCE_FRAME."""
    folder, _, name = key.rpartition("/")
    return name if folder and name.startswith(f"{folder}_") else key


def read_camera(path: str | Path) -> CameraFile:
    """Read a `camera/*.json`; DataError if the file is missing or is not a camera file."""
    encoded = existing_file(Path(path), _archive_hint(path)).read_bytes()
    try:
        content = json.loads(encoded)
        intrinsic = content["intrinsic"]
        fx, fy, u0, v0 = (float(intrinsic[key]) for key in ("fx", "fy", "u0", "v0"))
        camera = CameraFile(fx, fy, u0, v0, float(content["extrinsic"]["baseline"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}{_archive_hint(path)} is not a Cityscapes camera file "
            f"({type(error).__name__}: {error}); expected JSON with intrinsic fx, fy, u0, v0 and "
            "extrinsic baseline."
        ) from error
    if not (camera.fx > 0 and camera.fy > 0 and camera.baseline > 0):
        raise DataError(f"{path}: fx, fy and baseline must be positive, but got {camera}.")
    return camera


def decode_disparity(
    raw: np.ndarray, focal: float, baseline: float, max_depth: float = MAX_DEPTH
) -> np.ndarray:
    """Convert 16-bit disparity to depth.

    Args:
        raw: 16-bit values, uint16 (H, W).
        focal: fx of the original resolution, pixels.
        baseline: Baseline, metres.
        max_depth: Depth beyond it is invalid, metres.

    Returns:
        Metres along the optical axis, float32 (H, W), NaN where invalid.
    """
    return _depth_of_values(focal, baseline, max_depth)[raw]


@lru_cache(maxsize=256)  # a drive has one camera
def _depth_of_values(focal: float, baseline: float, max_depth: float) -> np.ndarray:
    """Metres of every 16-bit value (65536,): a look-up takes a tenth of the computing time."""
    raw = np.arange(2**16)
    disparity = (raw.astype(np.float32) - 1) / 256
    with np.errstate(divide="ignore"):
        depth = np.float32(baseline * focal) / disparity
    return np.where((raw > 1) & (depth <= max_depth), depth, np.nan).astype(np.float32)


def encode_disparity(depth: np.ndarray, focal: float, baseline: float) -> np.ndarray:
    """Convert depth to 16-bit disparity, 0 where depth is not finite.

    The other arguments are the same as for `decode_disparity`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = np.rint(256 * baseline * focal / depth + 1)
    usable = np.isfinite(depth) & (depth > 0)
    return np.where(usable, np.clip(raw, 1, 65535), 0).astype(np.uint16)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a PNG atomically: RGB (H, W, 3) of 8 bits, or grey (H, W) of 8 or 16 bits."""
    success, encoded = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)
    if not success:
        raise DataError(f"OpenCV could not encode {path}.")
    write_atomically(path, lambda unfinished: unfinished.write_bytes(encoded.tobytes()))


def is_of_official_size(camera: CameraFile, shape: tuple[int, int], path: str | Path) -> bool:
    """Whether a camera file refers to the official size instead of the size of this image.

    The principal point is near the centre of the image that the file refers to.

    Args:
        camera: Content of the file.
        shape: (H, W) of the image.
        path: Path of the camera file, for the message.

    Raises:
        DataError: The camera file fits neither size.
    """
    (height, width), (full_height, full_width) = shape, OFFICIAL_SIZE
    image_offset = abs((camera.u0 + 0.5) / width - 0.5)
    official_offset = abs((camera.u0 + 0.5) / full_width - 0.5)
    resized = width * full_height == height * full_width and official_offset < image_offset
    offset = official_offset if resized else image_offset
    if not offset <= _MAX_CENTRE_OFFSET:  # also refuses NaN
        raise DataError(
            f"{path}: the principal point u0 = {camera.u0:g} is near the centre neither of the "
            f"image, {width}×{height}, nor of an official one ({full_width}×{full_height}) "
            "resized to it. Do not crop images, and keep the camera file of the original."
        )
    return resized


def focal_of_image(
    camera: CameraFile, shape: tuple[int, int], path: str | Path
) -> tuple[float, float]:
    """Return (fx, fy) in pixels of an image. Arguments: see `is_of_official_size`."""
    if not is_of_official_size(camera, shape, path):
        return camera.fx, camera.fy
    (height, width), (full_height, full_width) = shape, OFFICIAL_SIZE
    return camera.fx * width / full_width, camera.fy * height / full_height


class CityscapesLayout(DataSet):
    """A split in Cityscapes' layout. Names: see `FrameFiles`. Arguments: see `DataSet`."""

    classes = CITYSCAPES
    default_max_depth = MAX_DEPTH
    _frames: Mapping[str, FrameFiles] = MappingProxyType({})

    def list_names(self) -> list[str]:
        self._frames = {frame.name: frame for frame in list_frames(self.root, self.split)}
        return list(self._frames)

    def read(self, name: str) -> Sample:
        frame = self._frame(name)
        image = read_png(frame.path(IMAGES), cv2.IMREAD_COLOR)[..., ::-1]
        shape, focal, labels, depth = image.shape[:2], None, None, None
        if self._has("camera"):
            camera = read_camera(frame.path("camera"))
            focal = focal_of_image(camera, shape, frame.path("camera"))
        if self.has_labels(name):
            labels = self.classes.to_train_ids(
                _ground_truth(frame.path("gtFine"), np.uint8, shape)
            )
        if self.has_depth(name):
            raw = _ground_truth(frame.path("disparity"), np.uint16, shape)
            depth = decode_disparity(raw, camera.fx, camera.baseline, self.max_depth)
        return partial_sample(name, image, focal, labels, depth)

    def has_labels(self, name: str) -> bool:
        return self.labelled and self._has("gtFine")

    def has_depth(self, name: str) -> bool:
        return self.labelled and self._has("disparity") and self._has("camera")

    def _has(self, folder: str) -> bool:
        """Whether the split has a kind of file. If it has, no frame may lack one."""
        return (self.root / folder / self.split).is_dir()

    def unknown_ids(self, name: str) -> dict[int, int]:
        ids = read_grey(self._frame(name).path("gtFine"), np.uint8, "is it the coloured picture?")
        counts = np.bincount(ids.ravel(), minlength=256)
        return {k: int(counts[k]) for k in range(_VOID_IDS, IGNORE) if counts[k]}

    def files(self, name: str) -> list[Path]:
        present = {
            "gtFine": self.has_labels(name),
            "disparity": self.has_depth(name),
            "camera": self._has("camera"),
        }
        return [self._frame(name).path(f) for f in _SUFFIXES if present.get(f, True)]

    def camera(self, name: str) -> PinholeCamera | None:
        if not self._has("camera"):
            return None
        path, image = (self._frame(name).path(folder) for folder in ("camera", IMAGES))
        height, width = image_size(image, _archive_hint(image))
        fx, fy = focal_of_image(read_camera(path), (height, width), path)
        return PinholeCamera(fx, fy, width, height)

    def sequence_of(self, name: str) -> str:
        return _sequence_of(name)

    def object_mask(self, name: str) -> Path:
        return self._frame(name).path("gtFine", OBJECT_MASK)

    def has_unknown_object(self, name: str) -> bool:
        numbers = _NUMBERED.search(name)
        return numbers is not None and numbers[1] == _UNKNOWN_SEQUENCE

    def _frame(self, name: str) -> FrameFiles:
        return self._frames.get(name) or FrameFiles(self.root, self.split, name)


@DATASETS.register("cityscapes")
class Cityscapes(CityscapesLayout):
    """The real data set. The labels of its test split are not public."""

    image_source = "images of cityscapes"

    @classmethod
    def split_names(cls, root: Path) -> SplitNames:
        return SplitNames(test="val")


def read_png(path: Path, flags: int) -> np.ndarray:
    """Read an image as OpenCV decodes it (BGR). Arguments and errors: see `read_image`."""
    return read_image(path, flags, _archive_hint(path))


def _ground_truth(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    hint = "Did you use an 8-bit preview?"
    if dtype == np.uint8:
        hint = "Did you use the colour preview (…_color.png) instead of …_labelIds.png?"
    values = read_grey(path, dtype, hint, _archive_hint(path))
    if values.shape != shape:
        raise DataError(f"{path} has the size {values.shape}, but its image {shape} (H,W).")
    return values


def _archive_hint(path: str | Path) -> str:
    """Return " (from ARCHIVE)" with the official archive that contains a file, or ""."""
    path = Path(path)
    part = "trainextra" if path.parent.parent.name == "train_extra" else "trainvaltest"
    folders = [folder for folder, end in _SUFFIXES.items() if path.name.endswith("_" + end)]
    return "".join(f" (from {folder}_{part}.zip)" for folder in folders)
