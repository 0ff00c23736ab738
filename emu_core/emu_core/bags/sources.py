"""Sources of drives: a data set in Cityscapes' layout, a folder of images, or a video file.

    for frame in open_source(Path("drive.mp4"), SourceOptions(fov=90)).frames:
        print(frame.time_ns, frame.bgr.shape)          # the first frame's time is 0

Frames come one at a time, in temporal order. Videos need PyAV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from emu_core.bags import calibration
from emu_core.bags.errors import BagError
from emu_core.bags.images import IMAGE_SUFFIXES, JPEG_SUFFIXES
from emu_core.bags.types import CameraInfo
from emu_core.bags.video_frames import read_video
from emu_core.data.cityscapes import read_camera
from emu_core.data.image_files import orientation, with_end
from emu_core.data.sample import decode_file, existing_file
from emu_core.files import natural_sort, visible_entries

CITYSCAPES_FOLDERS = ("leftImg8bit", "leftImg8bit_sequence")
_NS = 10**9
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""EXIF orientation → what makes the pixels upright (CIPA DC-008, 4.6.5.1)."""

CalibrationLookup = Callable[[Path, int, int, "tuple[int, int] | None"], "CameraInfo | None"]
"""Returns the calibration of an image, or None if it is unknown; arguments: file, width, height,
and (width, height) before its pixels were made square, if they were."""


@dataclass(frozen=True)
class SourceOptions:
    """Settings that the files of a source do not give.

    `rate` is the frame rate in 1/s of sources without time stamps. `split` and `city` select a
    folder of Cityscapes. `calibration` is a file, `fov` the horizontal field of view in degrees.
    """

    rate: float = 10.0
    split: str | None = None
    city: str | None = None
    calibration: Path | None = None
    fov: float | None = None


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """One image, uint8 (H, W, 3) BGR; `jpeg` has the bytes of its file if it is a colour JPEG."""

    time_ns: int
    bgr: np.ndarray
    jpeg: bytes | None
    calibration: CameraInfo | None


@dataclass(frozen=True)
class DriveSource:
    """A drive that can be read once; `count` is its number of frames, None if unknown.

    `ignored` has the names of files in the folder that are no images.
    """

    kind: str
    count: int | None
    frames: Iterator[DriveFrame]
    ignored: tuple[str, ...] = ()


def open_source(path: Path, options: SourceOptions) -> DriveSource:
    """Open a data set, a folder of images or a video file as a drive.

    Reading the frames raises BagError or DataError if a file is damaged.

    Raises:
        BagError: The path does not exist, contains no drive, or the calibration cannot be used.
    """
    look_up = _calibration_from_options(options)
    if path.is_file():
        return DriveSource("video", None, _video(path, options.rate, look_up))
    if not path.is_dir():
        raise BagError(f"no folder or file at {path}")
    kind, others = "images", []
    layout = next((path / name for name in CITYSCAPES_FOLDERS if (path / name).is_dir()), None)
    if layout is not None:
        kind, files, look_up = (
            "Cityscapes",
            _cityscapes_files(layout, options),
            _calibration_from_files(path, look_up),
        )
    else:
        there = [entry for entry in visible_entries(path) if entry.is_file()]
        files = [file for file in there if file.suffix.lower() in IMAGE_SUFFIXES]
        others = [file.name for file in there if file not in files]
        if not files:
            raise BagError(
                f"{path} has no images ({', '.join(IMAGE_SUFFIXES)}) and none of Cityscapes' "
                f"folders ({', '.join(CITYSCAPES_FOLDERS)})"
            )
    files = natural_sort(files)
    return DriveSource(kind, len(files), _images(files, options.rate, look_up), tuple(others))


def _calibration_from_options(options: SourceOptions) -> CalibrationLookup:
    if options.calibration is not None:
        known = calibration.read_calibration(options.calibration)

        def look_up(
            file: Path, width: int, height: int, stored: tuple[int, int] | None = None
        ) -> CameraInfo:
            try:
                return calibration.resized(known, width, height, stored)
            except ValueError as error:
                raise BagError(f"{options.calibration} does not fit {file}: {error}") from None

        return look_up
    if options.fov is not None:
        fov = options.fov
        return lambda _, width, height, stored: calibration.from_field_of_view(width, height, fov)
    return lambda _, width, height, stored: None


def _images(files: list[Path], rate: float, look_up: CalibrationLookup) -> Iterator[DriveFrame]:
    for index, file in enumerate(files):
        # 8 bits, grey or colour. The camera of a robot has no EXIF: turn the pixels as it says.
        content = existing_file(file).read_bytes()
        turn = _TURNS.get(orientation(content))
        bgr = decode_file(file, content, cv2.IMREAD_ANYCOLOR)
        color = bgr.ndim == 3
        keep = color and turn is None and file.suffix.lower() in JPEG_SUFFIXES
        jpeg = with_end(content) if keep else None
        if not color:
            bgr = cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR)
        bgr = bgr if turn is None else np.ascontiguousarray(turn(bgr))
        height, width = bgr.shape[:2]
        yield DriveFrame(round(index * _NS / rate), bgr, jpeg, look_up(file, width, height, None))


def _cityscapes_files(layout: Path, options: SourceOptions) -> list[Path]:
    split = _subfolder(layout, "split", options.split)
    city = _subfolder(split, "city", options.city)
    files = [f for f in visible_entries(city) if f.name.endswith("_leftImg8bit.png")]
    if not files:
        raise BagError(f"{city} has no *_leftImg8bit.png")
    return files


def _subfolder(folder: Path, what: str, name: str | None) -> Path:
    """The subfolder of this name, by default the only one."""
    existing = [entry.name for entry in visible_entries(folder) if entry.is_dir()]
    if name is None and len(existing) == 1:
        name = existing[0]
    if name not in existing:
        if not existing:
            raise BagError(f"{folder} has no {what} folder")
        problem = f"has no {what} {name!r}" if name else f"has more than one {what}"
        raise BagError(f"{folder} {problem}; choose with --{what}: {', '.join(existing)}")
    return folder / name


def _calibration_from_files(root: Path, given: CalibrationLookup) -> CalibrationLookup:
    """Use the calibration from the options, else the one from the nearest camera file."""

    def look_up(
        image: Path, width: int, height: int, stored: tuple[int, int] | None
    ) -> CameraInfo | None:
        if camera := given(image, width, height, stored):
            return camera
        if file := _nearest_camera_file(root, image):
            return calibration.from_cityscapes(read_camera(file), (height, width), file)
        return None

    return look_up


def _nearest_camera_file(root: Path, image: Path) -> Path | None:
    """Camera file nearest to the image in its sequence: only one frame in 30 has its own."""
    split, city = image.parent.parent.name, image.parent.name
    sequence, _, number = image.name.removesuffix("_leftImg8bit.png").rpartition("_")
    files = _camera_files(root / "camera" / split / city).get(sequence, {})
    if not number.isdigit() or not files:
        return None
    return files[min(files, key=lambda other: abs(other - int(number)))]


@lru_cache(maxsize=1)
def _camera_files(folder: Path) -> dict[str, dict[int, Path]]:
    """Camera files by sequence (CITY_SEQUENCE) and frame number."""
    result: dict[str, dict[int, Path]] = {}
    for file in visible_entries(folder) if folder.is_dir() else ():
        if not file.name.endswith("_camera.json"):
            continue
        sequence, _, number = file.name.removesuffix("_camera.json").rpartition("_")
        if number.isdigit():
            result.setdefault(sequence, {})[int(number)] = file
    return result


def _video(path: Path, rate: float, look_up: CalibrationLookup) -> Iterator[DriveFrame]:
    for frame in read_video(path, rate):
        height, width = frame.bgr.shape[:2]
        yield DriveFrame(
            frame.time_ns, frame.bgr, None, look_up(path, width, height, frame.stored)
        )
