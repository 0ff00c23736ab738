"""Pictures, folders, videos and cameras as one sequence of upright RGB pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emu_core.bags.errors import BagError
from emu_core.bags.images import IMAGE_SUFFIXES, MAX_PIXELS, to_8_bits
from emu_core.bags.video_frames import frame_count, read_video
from emu_core.data.image_files import damage, decode_image, film_focal, header_size
from emu_core.data.sample import DataError, existing_file
from emu_core.files import natural_sort, visible_files

_NS = 1e9


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, or one frame of a clip.

    Attributes:
        name: Path of its results below the output folder.
        rgb: uint8 (h, w, 3), upright.
        film_mm: Focal length of 35 mm film from EXIF; None if unknown.
        time_s: Time of a frame since the first one, seconds; 0 for pictures.
    """

    name: str
    rgb: np.ndarray
    film_mm: float | None = None
    time_s: float = 0.0


@dataclass(frozen=True)
class Source:
    """What is predicted; it can be read once.

    Attributes:
        clip: Name of a video or camera; None for pictures.
        live: Whether it is a camera, which never ends.
        count: Number of pictures; None if unknown.
        pictures: The pictures; a DataError stands for a damaged one.
    """

    clip: str | None
    live: bool
    count: int | None
    pictures: Iterator[Picture | DataError]


def open_source(source: str, output: Path) -> Source:
    """Open a picture, a folder with pictures, a video, or a camera by its number.

    Args:
        source: Path or number.
        output: Folder of the results; pictures in it are left out.

    Raises:
        DataError: There is nothing to predict.
        BagError: While reading: a video is damaged.
    """
    path = Path(source)
    if source.isdecimal() and not path.exists():
        return Source(f"camera{source}", True, None, _camera(_open_camera(int(source)), source))
    if path.is_dir():
        files = _picture_files(path, output)
        return Source(None, False, len(files), _pictures(files))
    if not path.is_file():
        raise DataError(f"There is no picture, folder, video or camera {source}. Check the path.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Source(None, False, 1, _pictures({path.name: path}))
    return Source(path.name, False, frame_count(path), _video(path))


def _picture_files(folder: Path, output: Path) -> dict[str, Path]:
    """Pictures below a folder by their names below it, in natural order."""
    inside, results = folder.resolve(), output.resolve()
    if inside == results:
        raise DataError(f"The results cannot be written among the pictures in {folder}.")
    files = list(visible_files(folder))
    if inside in results.parents:
        files = [file for file in files if results not in file.resolve().parents]
    found = natural_sort([file for file in files if file.suffix.lower() in IMAGE_SUFFIXES])
    if not found:
        others = f"; it has other files, e.g. {files[0].name}" if files else ""
        raise DataError(f"{folder} has no pictures ({', '.join(IMAGE_SUFFIXES)}){others}.")
    return {file.relative_to(folder).as_posix(): file for file in found}


def _pictures(files: dict[str, Path]) -> Iterator[Picture | DataError]:
    for name, path in files.items():
        try:
            yield Picture(name, *read_picture(path))
        except (DataError, OSError) as error:
            yield DataError(str(error))


def read_picture(path: Path) -> tuple[np.ndarray, float | None]:
    """Read a picture as a person sees it.

    EXIF's orientation is applied, 16 bits are scaled to 8 by 1/257, grey becomes three equal
    channels, and transparency is dropped.

    Returns:
        RGB, uint8 (h, w, 3); and the focal length of 35 mm film from EXIF, None if unknown.

    Raises:
        DataError: The file is damaged, or its numbers are neither of 8 nor of 16 bits.
    """
    code = existing_file(path).read_bytes()
    height, width = header_size(code)
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{path} has {width}x{height} pixels, but at most {MAX_PIXELS} are supported. Make it "
            "smaller."
        )
    try:
        bgr = decode_image(code, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # e.g. a header that claims too many pixels
        bgr = None
    if bgr is None:
        raise DataError(f"{path} is damaged: {damage(code)}. Copy it again.")
    if bgr.dtype == np.uint16:
        bgr = to_8_bits(bgr)
    if bgr.dtype != np.uint8:
        raise DataError(f"{path} has pixels of {bgr.dtype}. Convert it to 8 or 16 bits.")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), film_focal(code)


def _video(path: Path) -> Iterator[Picture | DataError]:
    try:
        for number, frame in enumerate(read_video(path)):
            rgb = cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2RGB)
            yield Picture(f"{path.name}/{number:06d}", rgb, time_s=frame.time_ns / _NS)
    except BagError as error:
        yield DataError(f"{error}.")


def _open_camera(number: int) -> cv2.VideoCapture:
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise DataError(
            f"Camera {number} does not open. Check that it is connected and that no other program "
            "uses it."
        )
    return capture


def _camera(capture: cv2.VideoCapture, number: str) -> Iterator[Picture | DataError]:
    """Frames until the camera ends; their times are those of their receipt."""
    start, count = 0.0, 0
    try:
        while True:
            received, bgr = capture.read()
            if not received:
                yield DataError(f"Camera {number} sends no more images after {count}.")
                return
            now = time.monotonic()
            start = start or now
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            yield Picture(f"camera{number}/{count:06d}", rgb, time_s=now - start)
            count += 1
    finally:
        capture.release()
