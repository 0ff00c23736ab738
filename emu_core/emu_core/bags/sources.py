"""Where drives come from: Cityscapes' folders, a folder of images, or a video file.

    source = open_source(Path("drive.mp4"), Options(fov=90))
    for frame in source.frames():          # frame.time_ns counts from the drive's beginning
        ...

Each yields frames in the order of time, one at a time. No torch, no ROS; videos need PyAV.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emu_core.bags.calibration import (
    Calibration,
    from_cityscapes,
    from_field_of_view,
    read_calibration,
)
from emu_core.bags.errors import BagError
from emu_core.data.cityscapes import read_camera
from emu_core.data.sample import read_image

_JPEG_SUFFIXES = (".jpg", ".jpeg")
IMAGE_SUFFIXES = (*_JPEG_SUFFIXES, ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
CITYSCAPES_FOLDERS = ("leftImg8bit", "leftImg8bit_sequence")
_NS = 10**9


@dataclass(frozen=True)
class Options:
    """What a source does not tell by itself.

    `rate` in frames per second, where there are no stamps; `split` and `city` choose among
    Cityscapes' folders; `calibration` is a file, `fov` degrees from left to right.
    """

    rate: float = 10.0
    split: str | None = None
    city: str | None = None
    calibration: Path | None = None
    fov: float | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One image, uint8 (H, W, 3) BGR, and the JPEG file that it was, if it was a coloured one."""

    time_ns: int
    bgr: np.ndarray
    jpeg: bytes | None
    calibration: Calibration | None


@dataclass(frozen=True)
class Source:
    """A drive before it is read; `count` is None where nobody knows before its end."""

    kind: str
    count: int | None
    frames: Callable[[], Iterator[Frame]]


def open_source(path: Path, options: Options) -> Source:
    """Find out what lies at `path`, and whether it can be read at all.

    Raises
    ------
    BagError
        Nothing is there, or nothing that is a drive; the frames raise it, too, and DataError, for
        a file that is damaged.
    """
    lens = _lens(options)
    if path.is_file():
        return Source("video", None, lambda: _video(path, options.rate, lens))
    if not path.is_dir():
        raise BagError(f"no folder and no file {path}")
    layout = next((path / name for name in CITYSCAPES_FOLDERS if (path / name).is_dir()), None)
    if layout is not None:
        files = _cityscapes_files(layout, options)
        cameras = _Cameras(path, lens)
        return Source("Cityscapes", len(files), lambda: _images(files, options.rate, cameras.of))
    files = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise BagError(
            f"{path} holds no images ({', '.join(IMAGE_SUFFIXES)}) and none of Cityscapes' "
            f"folders ({', '.join(CITYSCAPES_FOLDERS)})"
        )
    files.sort(key=natural_order)
    return Source("images", len(files), lambda: _images(files, options.rate, lens))


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key under which frame_9 comes before frame_10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


Lens = Callable[[Path, int, int], Calibration | None]
"""From a file and the width and height of its image to its calibration, if that is known."""


def _lens(options: Options) -> Lens:
    if options.calibration is not None:
        known = read_calibration(options.calibration)

        def resized(file: Path, width: int, height: int) -> Calibration:
            try:
                return known.resized(width, height)
            except ValueError as error:
                raise BagError(f"{options.calibration} does not fit {file}: {error}") from None

        return resized
    if options.fov is not None:
        fov = options.fov
        return lambda file, width, height: from_field_of_view(width, height, fov)
    return lambda file, width, height: None


def _images(files: list[Path], rate: float, lens: Lens) -> Iterator[Frame]:
    for index, file in enumerate(files):
        # 8 bits, gray or coloured, and as it is stored: so does the node decode it.
        bgr = read_image(file, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        coloured = bgr.ndim == 3
        jpeg = file.read_bytes() if coloured and file.suffix.lower() in _JPEG_SUFFIXES else None
        if not coloured:
            bgr = cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR)
        height, width = bgr.shape[:2]
        yield Frame(round(index * _NS / rate), bgr, jpeg, lens(file, width, height))


# --- Cityscapes


def _cityscapes_files(layout: Path, options: Options) -> list[Path]:
    split = _chosen(layout, "split", options.split)
    city = _chosen(split, "city", options.city)
    files = sorted(city.glob("*_leftImg8bit.png"), key=natural_order)
    if not files:
        raise BagError(f"{city} holds no *_leftImg8bit.png")
    return files


def _chosen(folder: Path, what: str, name: str | None) -> Path:
    """The folder of that name in another, or the only one."""
    there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if name is None and len(there) == 1:
        name = there[0]
    if name not in there:
        asked = f"has no {what} {name!r}" if name else f"has more than one {what}"
        raise BagError(f"{folder} {asked}; choose with --{what}: {', '.join(there) or 'none'}")
    return folder / name


class _Cameras:
    """Camera files of a split: each image's own, or its sequence's nearest (one in 30 has one)."""

    def __init__(self, root: Path, lens: Lens) -> None:
        self._root, self._lens = root, lens

    def of(self, image: Path, width: int, height: int) -> Calibration | None:
        """What the user gave goes first."""
        given = self._lens(image, width, height)
        file = None if given else self._nearest(image)
        if file is None:
            return given
        return from_cityscapes(read_camera(file), (height, width), file)

    def _nearest(self, image: Path) -> Path | None:
        split, city = image.parent.parent.name, image.parent.name
        name = image.name.removesuffix("_leftImg8bit.png")
        files = _camera_files(self._root / "camera" / split / city)
        sequence, _, number = name.rpartition("_")
        near = files.get(sequence, {})
        if not number.isdigit() or not near:
            return None
        return near[min(near, key=lambda other: abs(other - int(number)))]


@lru_cache(maxsize=1)
def _camera_files(folder: Path) -> dict[str, dict[int, Path]]:
    """Camera files by sequence (CITY_SEQUENCE) and number of the frame."""
    result: dict[str, dict[int, Path]] = {}
    for file in folder.glob("*_camera.json"):
        sequence, _, number = file.name.removesuffix("_camera.json").rpartition("_")
        if number.isdigit():
            result.setdefault(sequence, {})[int(number)] = file
    return result


# --- video


def _video(path: Path, rate: float, lens: Lens) -> Iterator[Frame]:
    """Frames with the video's own stamps, from 0 on; where it has none, at its rate."""
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise BagError(f"{path} is no video that PyAV reads: {error}") from error
    with container:
        if not container.streams.video:
            raise BagError(f"{path} has no video in it")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        step_ns = round(_NS / float(stream.average_rate or rate))
        first_ns, last_ns, index = None, -step_ns, 0
        try:
            for picture in container.decode(stream):
                stamp_ns = None if picture.time is None else round(picture.time * _NS)
                first_ns = stamp_ns if first_ns is None else first_ns
                known = stamp_ns is not None and first_ns is not None
                time_ns = stamp_ns - first_ns if known else last_ns + step_ns
                last_ns = max(time_ns, last_ns + 1)  # an edited video may jump back
                bgr = _upright(picture)
                calibration = lens(path, bgr.shape[1], bgr.shape[0])
                yield Frame(last_ns, bgr, None, calibration)
                index += 1
        except av.FFmpegError as error:
            raise BagError(f"{path} is damaged after {index} readable frames: {error}") from error
        if not index:
            raise BagError(f"{path} has no frames")


def _upright(picture: Any) -> np.ndarray:
    """A decoded frame as uint8 (H, W, 3) BGR, turned as a phone that was held askew says."""
    bgr = picture.to_ndarray(format="bgr24")
    turns = round(getattr(picture, "rotation", 0) / 90)  # counterclockwise
    return np.ascontiguousarray(np.rot90(bgr, turns)) if turns % 4 else bgr
