"""Cityscapes' layout on disk: the real data set and our rendered drives alike.

    ROOT/leftImg8bit/SPLIT/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
    ROOT/gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png
    ROOT/disparity/SPLIT/CITY/CITY_SEQUENCE_FRAME_disparity.png
    ROOT/camera/SPLIT/CITY/CITY_SEQUENCE_FRAME_camera.json

Disparity is Cityscapes' 16-bit code: raw 0 is invalid, else d = (raw − 1)/256 pixels and
depth = baseline·fx/d, fx of the *original* resolution. Raw 1 decodes to infinity, hence valid
means raw > 1 and depth ≤ a limit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emu_core.labels import CITYSCAPES

MAX_DEPTH = 80.0
"""Default limit of valid ground truth, metres."""

ARCHIVES = {
    "leftImg8bit": "leftImg8bit_trainvaltest.zip",
    "gtFine": "gtFine_trainvaltest.zip",
    "disparity": "disparity_trainvaltest.zip",
    "camera": "camera_trainvaltest.zip",
}
"""Folder → the official archive that holds it."""

_SUFFIXES = {
    "leftImg8bit": "leftImg8bit.png",
    "gtFine": "gtFine_labelIds.png",
    "disparity": "disparity.png",
    "camera": "camera.json",
}


class DataError(ValueError):
    """A data set is missing, incomplete or damaged; the message names the file."""


@dataclass(frozen=True)
class CameraFile:
    """What `camera/*.json` says: intrinsics in pixels of the original image, baseline in m."""

    fx: float
    fy: float
    u0: float
    v0: float
    baseline: float


@dataclass(frozen=True)
class Sample:
    """One frame as arrays.

    image uint8 (H,W,3) RGB; labels uint8 (H,W) train ids, 255 ignored; depth float32 (H,W) metres
    along z, NaN where there is no valid ground truth; focal (fx, fy) in pixels of this image.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    focal: tuple[float, float]


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
        content = json.loads(_existing(Path(path)).read_text())
        inner = content["intrinsic"]
        fx, fy, u0, v0 = (float(inner[key]) for key in ("fx", "fy", "u0", "v0"))
        camera = CameraFile(fx, fy, u0, v0, float(content["extrinsic"]["baseline"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}{_source(path)} is no Cityscapes camera file ({type(error).__name__}: "
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


class Cityscapes:
    """A split as a sequence of `Sample`.

    Args:
        root: the folder that holds `leftImg8bit` and its siblings.
        split: train, val, test or any other folder below them.
        max_depth: farther ground truth is invalid, metres.

    Raises:
        DataError: no such split; or, at access, a file that is missing or damaged.
    """

    classes = CITYSCAPES

    def __init__(self, root: str | Path, split: str, max_depth: float = MAX_DEPTH):
        self.frames = list_frames(root, split)
        self.max_depth = max_depth

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        files = self.frames[index]
        image = read_png(files.path("leftImg8bit"), cv2.IMREAD_COLOR)
        ids = read_png(files.path("gtFine"), cv2.IMREAD_GRAYSCALE)
        raw = read_png(files.path("disparity"), cv2.IMREAD_UNCHANGED)
        camera = read_camera(files.path("camera"))
        if raw.dtype != np.uint16 or raw.ndim != 2:
            raise DataError(
                f"{files.path('disparity')}{_source(files.path('disparity'))}: expected 16-bit "
                f"grey, but got {raw.dtype} {raw.shape}; is it an 8-bit preview?"
            )
        for kind, array in (("gtFine", ids), ("disparity", raw)):
            if array.shape != image.shape[:2]:
                raise DataError(
                    f"{files.path(kind)} is {array.shape}, its image {image.shape[:2]} (H,W)."
                )
        depth = decode_disparity(raw, camera.fx, camera.baseline, self.max_depth)
        labels = self.classes.to_train_ids(ids)
        return Sample(files.name, image[..., ::-1], labels, depth, (camera.fx, camera.fy))


def read_png(path: Path, flags: int) -> np.ndarray:
    """Read an image as OpenCV does (BGR); DataError names a missing or damaged file."""
    image = cv2.imdecode(np.frombuffer(_existing(path).read_bytes(), np.uint8), flags)
    if image is None:
        raise DataError(
            f"{path}{_source(path)} is damaged: OpenCV cannot decode it. Unpack or render it "
            "again."
        )
    return image


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"No file {path}{_source(path)}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}{_source(path)} is empty. Unpack or render it again.")
    return path


def _source(path: str | Path) -> str:
    """Where the official file of this name comes from, for messages."""
    name = Path(path).name
    kind = next((k for k, end in _SUFFIXES.items() if name.endswith("_" + end)), None)
    return f" (from {ARCHIVES[kind]})" if kind else ""
