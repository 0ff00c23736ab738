"""Read the frames of a video as players show them: upright, with square pixels. Needs PyAV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from emu_core.bags.errors import BagError
from emu_core.files import lfs_problem

if TYPE_CHECKING:
    import av

_NS = 10**9
_STILL = ("attached_pic", "timed_thumbnails", "still_image")
_PROBED_PACKETS = 300
_WIDEST = 10


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """Frame of a video: its time in ns after the first one, and uint8 (H, W, 3) BGR.

    `stored` is the (width, height) of its upright pixels before they were made square.
    """

    time_ns: int
    bgr: np.ndarray
    stored: tuple[int, int]


def read_video(path: Path, rate: float = 10.0) -> Iterator[VideoFrame]:
    """Yield the frames of a video's film, with times that ascend from 0 by the file's stamps.

    Covers, thumbnails and smaller copies of the film are left out. Rotation, mirroring and the
    aspect ratio of the pixels are applied as the file states them.

    Args:
        path: Video file.
        rate: Frames per second, if the file has neither time stamps nor a rate.

    Raises:
        BagError: The file is no video, or it is damaged.
    """
    import av

    if problem := lfs_problem(path):
        raise BagError(problem)
    try:
        number = _film(path)
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise BagError(
            f"PyAV cannot read {path} as a video; it is another file, or damaged: {error}"
        ) from error
    with container:
        if number is None:
            raise BagError(f"{path} has no video stream")
        stream = container.streams[number]
        assert isinstance(stream, av.VideoStream)
        stream.thread_type = "AUTO"
        step_ns = round(_NS / float(stream.average_rate or rate))
        first_ns, last_ns, count = None, -step_ns, 0
        try:
            for picture in container.decode(stream):
                time_ns = last_ns + step_ns
                if picture.time is not None:
                    stamp_ns = round(picture.time * _NS)
                    first_ns = stamp_ns if first_ns is None else first_ns
                    time_ns = stamp_ns - first_ns
                last_ns = max(time_ns, last_ns + 1)  # stamps of an edited video may decrease
                bgr, stored = _upright(picture, stream.sample_aspect_ratio)
                yield VideoFrame(last_ns, bgr, stored)
                count += 1
        except av.FFmpegError as error:
            raise BagError(f"{path} is damaged after {count} readable frames: {error}") from error
        if not count:
            raise BagError(f"{path} has no frames")


def frame_count(path: Path) -> int | None:
    """Return the number of frames that a video's header states; None if it states none."""
    import av

    try:
        number = _film(path)
        with av.open(str(path)) as container:
            return None if number is None else container.streams[number].frames or None
    except (av.FFmpegError, OSError):  # `read_video` says what is wrong
        return None


def _film(path: Path) -> int | None:
    """Number of the stream with the film; None if there is no video stream.

    Streams with several frames come first, then the one that the file marks as default, then the
    larger one. FFmpeg shows a cover as a stream with one frame, in some files as the first one.
    """
    import av

    with av.open(str(path)) as container:
        streams = [s for s in container.streams.video if s.codec_context is not None]
        films = [s for s in streams if not any(_has(s, flag) for flag in _STILL)] or streams
        if len(films) < 2:
            return films[0].index if films else None
        packets: Counter[int] = Counter({s.index: s.frames for s in films})
        if not all(packets.values()):  # Matroska does not state them
            packets = Counter()
            for number, packet in enumerate(container.demux(films)):
                packets[packet.stream_index] += bool(packet.size)
                if number > _PROBED_PACKETS or all(packets[s.index] > 1 for s in films):
                    break
        return max(
            films,
            key=lambda s: (packets[s.index] > 1, _has(s, "default"), s.width * s.height, -s.index),
        ).index


def _has(stream: Any, flag: str) -> bool:
    """Whether a stream has a disposition; older versions of PyAV do not tell."""
    disposition = getattr(stream, "disposition", None)
    known = getattr(type(disposition), flag, None)
    return known is not None and bool(disposition & known)


def _upright(picture: av.VideoFrame, ratio: Fraction | None) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode a frame, turn it as its metadata say, and make its pixels square.

    Returns:
        uint8 (H, W, 3) BGR, and its (width, height) before the pixels were made square.
    """
    bgr: np.ndarray = picture.to_ndarray(format="bgr24")
    horizontal = Fraction(ratio or 1)  # width of a pixel by its height
    if not 1 / _WIDEST <= horizontal <= _WIDEST:  # no camera has such pixels
        horizontal = Fraction(1)
    turn = _matrix(picture)
    if turn[0, 1]:  # x and y are exchanged
        bgr, horizontal = bgr.transpose(1, 0, 2), 1 / horizontal
    mirrored = turn.sum(axis=0) < 0  # of the new x, the new y
    bgr = bgr[:: -1 if mirrored[1] else 1, :: -1 if mirrored[0] else 1]
    bgr = np.ascontiguousarray(bgr)
    height, width = bgr.shape[:2]
    if horizontal == 1:
        return bgr, (width, height)
    # The longer side of a pixel decides, so that no detail is lost.
    size = round(width * max(horizontal, 1)), round(height * max(1 / horizontal, 1))
    return cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR), (width, height)


def _matrix(picture: av.VideoFrame) -> np.ndarray:
    """Display matrix of a frame, (2, 2) of −1, 0, 1: (x, y) @ matrix is where a pixel is shown."""
    data: Any = picture.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.eye(2, dtype=int)
    matrix = np.frombuffer(bytes(data), np.int32, 9).reshape(3, 3)[:2, :2].astype(float)
    exchanged = abs(matrix[0, 1]) + abs(matrix[1, 0]) > abs(matrix[0, 0]) + abs(matrix[1, 1])
    return (np.sign(matrix) * (np.eye(2)[::-1] if exchanged else np.eye(2))).astype(int)
