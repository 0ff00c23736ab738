"""Cityscapes' layout on disk: the real data set and our rendered drives alike.

    ROOT/leftImg8bit/SPLIT/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
    ROOT/gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png
    ROOT/disparity/SPLIT/CITY/CITY_SEQUENCE_FRAME_disparity.png
    ROOT/camera/SPLIT/CITY/CITY_SEQUENCE_FRAME_camera.json

Disparity is Cityscapes' 16-bit code: raw 0 is invalid, else d = (raw − 1)/256 pixels and
depth = baseline·fx/d, fx of the *original* resolution. Raw 1 decodes to infinity, hence valid
means raw > 1 and depth ≤ a limit.

The files may be resized copies of the official ones (labels and disparity by nearest neighbour,
disparity's values and the camera files unchanged): depth stays the same, focal lengths shrink.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from emu_core.data.sample import (
    DataError,
    Sample,
    existing_file,
    read_grey,
    read_image,
    unlabelled,
)
from emu_core.labels import CITYSCAPES

MAX_DEPTH = 80.0
"""Default limit of valid ground truth, metres."""

ARCHIVES = {
    "leftImg8bit": "leftImg8bit_trainvaltest.zip",
    "gtFine": "gtFine_trainvaltest.zip",
    "disparity": "disparity_trainvaltest.zip",
    "camera": "camera_trainvaltest.zip",
}
"""Folder → the official archive that holds its splits train, val and test."""

OFFICIAL_SIZE = (1024, 2048)
"""Height and width that the official camera files and disparities refer to."""

OBJECT_MASK = "gtFine_object.png"
"""Suffix in gtFine of our drives' pairs: 255 on the object that was put into the scene."""

_SUFFIXES = {
    "leftImg8bit": "leftImg8bit.png",
    "gtFine": "gtFine_labelIds.png",
    "disparity": "disparity.png",
    "camera": "camera.json",
}

_OFF_CENTRE = 0.1
"""How far off the middle a principal point may lie, in widths; in Aachen it is 0.036."""


@dataclass(frozen=True)
class CameraFile:
    """What `camera/*.json` says: intrinsics in pixels of the original image, baseline in m."""

    fx: float
    fy: float
    u0: float
    v0: float
    baseline: float


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame, by the name CITY_SEQUENCE_FRAME."""

    root: Path
    split: str
    name: str

    def path(self, folder: str, suffix: str | None = None) -> Path:
        """Path in one of Cityscapes' folders, e.g. `path("disparity")`."""
        city = self.name.split("_")[0]
        return (
            self.root / folder / self.split / city / f"{self.name}_{suffix or _SUFFIXES[folder]}"
        )


def list_frames(root: str | Path, split: str) -> list[FrameFiles]:
    """Every frame of a split, sorted by name.

    Raises:
        DataError: there is no such split, or it holds no image.
    """
    root = Path(root)
    folder = root / "leftImg8bit" / split
    if not folder.is_dir():
        there = sorted(p.name for p in (root / "leftImg8bit").glob("*") if p.is_dir())
        raise DataError(
            f"No folder {folder}. Expected Cityscapes' layout (from {ARCHIVES['leftImg8bit']}, or "
            f"rendered by training/render_drives.py); splits found: {', '.join(there) or 'none'}."
        )
    end = "_" + _SUFFIXES["leftImg8bit"]
    names = sorted(path.name[: -len(end)] for path in folder.glob(f"*/*{end}"))
    if not names:
        raise DataError(f"No image in {folder}: expected CITY/*{end}.")
    return [FrameFiles(root, split, name) for name in names]


def read_camera(path: str | Path) -> CameraFile:
    """Read a `camera/*.json`."""
    try:
        content = json.loads(existing_file(Path(path), _origin(path)).read_text())
        inner = content["intrinsic"]
        fx, fy, u0, v0 = (float(inner[key]) for key in ("fx", "fy", "u0", "v0"))
        camera = CameraFile(fx, fy, u0, v0, float(content["extrinsic"]["baseline"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}{_origin(path)} is no Cityscapes camera file ({type(error).__name__}: "
            f"{error}); expected JSON with intrinsic fx, fy, u0, v0 and extrinsic baseline."
        ) from error
    if not (camera.fx > 0 and camera.fy > 0 and camera.baseline > 0):
        raise DataError(f"{path}: fx, fy and baseline must be positive, but got {camera}.")
    return camera


def decode_disparity(
    raw: np.ndarray, focal: float, baseline: float, max_depth: float = MAX_DEPTH
) -> np.ndarray:
    """Metres along z from Cityscapes' 16-bit code, float32, NaN where invalid.

    Args:
        raw: uint16 (H,W).
        focal: fx of the original resolution, pixels.
        baseline: metres.
        max_depth: farther pixels are invalid, metres.
    """
    return _depth_of_code(focal, baseline, max_depth)[raw]


@lru_cache(maxsize=256)  # a drive has one camera
def _depth_of_code(focal: float, baseline: float, max_depth: float) -> np.ndarray:
    """Metres of every 16-bit code (65536,): looking up takes a tenth of computing each pixel."""
    raw = np.arange(2**16)
    disparity = (raw.astype(np.float32) - 1) / 256
    with np.errstate(divide="ignore"):
        depth = np.float32(baseline * focal) / disparity
    return np.where((raw > 1) & (depth <= max_depth), depth, np.nan).astype(np.float32)


def encode_disparity(depth: np.ndarray, focal: float, baseline: float) -> np.ndarray:
    """Cityscapes' 16-bit code, uint16 (H,W), of metres along z; 0 where depth is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = np.rint(256 * baseline * focal / depth + 1)
    usable = np.isfinite(depth) & (depth > 0)
    return np.where(usable, np.clip(raw, 1, 65535), 0).astype(np.uint16)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a PNG (RGB, 8 or 16 bit grey) so that a killed run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        image = image[..., ::-1]
    done, code = cv2.imencode(".png", image)
    if not done:
        raise DataError(f"OpenCV could not encode {path}.")
    temporary = path.with_suffix(".part")
    temporary.write_bytes(code.tobytes())
    temporary.rename(path)


def is_of_official_size(camera: CameraFile, shape: tuple[int, int], path: str | Path) -> bool:
    """Whether a camera file is for the official image, whose resized copy this image is.

    A camera file does not say which size it is for. The principal point tells: it lies near the
    middle of either this image or of the official one.

    Args:
        shape: the image's (H, W).
        path: the camera file, for the message.

    Raises:
        DataError: the camera file fits neither size.
    """
    (height, width), (full_height, full_width) = shape, OFFICIAL_SIZE
    off_centre = abs((camera.u0 + 0.5) / width - 0.5)
    off_official = abs((camera.u0 + 0.5) / full_width - 0.5)
    resized = width * full_height == height * full_width and off_official < off_centre
    if not (off_official if resized else off_centre) <= _OFF_CENTRE:  # NaN is refused
        raise DataError(
            f"{path}: the principal point u0 = {camera.u0:g} is near the middle neither of the "
            f"image, {width}×{height}, nor of an official one ({full_width}×{full_height}) "
            "resized to it. Keep images whole, with the camera file of their original."
        )
    return resized


def focal_of_image(
    camera: CameraFile, shape: tuple[int, int], path: str | Path
) -> tuple[float, float]:
    """(fx, fy) in pixels of an image; see `is_of_official_size`."""
    if not is_of_official_size(camera, shape, path):
        return camera.fx, camera.fy
    (height, width), (full_height, full_width) = shape, OFFICIAL_SIZE
    return camera.fx * width / full_width, camera.fy * height / full_height


class Cityscapes:
    """A split as a sequence of `Sample`.

    Args:
        root: the folder that holds `leftImg8bit` and its siblings.
        split: train, val, test or any other folder below them.
        max_depth: farther ground truth is invalid, metres.
        labelled: False reads images and cameras alone, e.g. fresh frames to distil on: every
            label is ignored, every depth NaN.

    Raises:
        DataError: no such split; or, at access, a file that is missing or damaged.
    """

    classes = CITYSCAPES

    def __init__(
        self,
        root: str | Path,
        split: str,
        max_depth: float = MAX_DEPTH,
        labelled: bool = True,
    ):
        self.frames = list_frames(root, split)
        self.max_depth, self.labelled = max_depth, labelled

    @property
    def names(self) -> list[str]:
        """CITY_SEQUENCE_FRAME of each sample."""
        return [frame.name for frame in self.frames]

    def files(self, index: int) -> list[Path]:
        """What a sample is read from."""
        folders = _SUFFIXES if self.labelled else ("leftImg8bit", "camera")
        return [self.frames[index].path(folder) for folder in folders]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        files = self.frames[index]
        image = read_png(files.path("leftImg8bit"), cv2.IMREAD_COLOR)[..., ::-1]
        camera = read_camera(files.path("camera"))
        height, width = image.shape[:2]
        focal = focal_of_image(camera, (height, width), files.path("camera"))
        if not self.labelled:
            return unlabelled(files.name, image, focal)
        ids = _truth(files.path("gtFine"), np.uint8, (height, width))
        raw = _truth(files.path("disparity"), np.uint16, (height, width))
        depth = decode_disparity(raw, camera.fx, camera.baseline, self.max_depth)
        return Sample(files.name, image, self.classes.to_train_ids(ids), depth, focal)


def read_png(path: Path, flags: int) -> np.ndarray:
    """Read an image as OpenCV does (BGR); DataError names a missing or damaged file."""
    return read_image(path, flags, _origin(path))


def _truth(path: Path, dtype: type, shape: tuple[int, int]) -> np.ndarray:
    """Ground truth of an image's size."""
    hint = "is it an 8-bit preview?" if dtype == np.uint16 else "is it the coloured picture?"
    truth = read_grey(path, dtype, hint, _origin(path))
    if truth.shape != shape:
        raise DataError(f"{path} is {truth.shape}, its image {shape} (H,W).")
    return truth


def _origin(path: str | Path) -> str:
    """Which official archive holds a file, for messages."""
    path = Path(path)
    kind = next((k for k, end in _SUFFIXES.items() if path.name.endswith("_" + end)), None)
    if kind is None:
        return ""
    archive = ARCHIVES[kind]
    if path.parent.parent.name == "train_extra":  # the splits' folders hold one per city
        archive = archive.replace("trainvaltest", "trainextra")
    return f" (from {archive})"
