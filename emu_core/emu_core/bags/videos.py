"""Videos: read the frames of any file, and write H.264 files that browsers play. Needs PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emu_core.bags.errors import BagError

if TYPE_CHECKING:
    import av

_NS = 10**9
_TICK = Fraction(1, 90_000)
"""Time base of videos with a time for each frame, seconds; the usual one."""


def read_video(path: Path, rate: float = 10.0) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames of a video, upright: the rotation in its metadata is applied.

    Args:
        path: Video file.
        rate: Frames per second, if the file has neither time stamps nor a rate.

    Yields:
        Time in ns, ascending from 0, by the file's time stamps; and uint8 (H, W, 3) BGR.

    Raises:
        BagError: The file is no video, or it is damaged.
    """
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise BagError(f"PyAV cannot read {path} as a video: {error}") from error
    with container:
        if not container.streams.video:
            raise BagError(f"{path} has no video stream")
        stream = container.streams.video[0]
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
                yield last_ns, _decode_rotated(picture)
                count += 1
        except av.FFmpegError as error:
            raise BagError(f"{path} is damaged after {count} readable frames: {error}") from error
        if not count:
            raise BagError(f"{path} has no frames")


def _decode_rotated(picture: av.VideoFrame) -> np.ndarray:
    """Decode a frame to uint8 (H, W, 3) BGR, and apply the rotation stored in its metadata."""
    bgr = picture.to_ndarray(format="bgr24")
    quarter_turns = round(getattr(picture, "rotation", 0) / 90)  # counterclockwise
    return np.ascontiguousarray(np.rot90(bgr, quarter_turns)) if quarter_turns % 4 else bgr


def frame_count(path: Path) -> int | None:
    """Return the number of frames that a video's header states; None if it states none."""
    import av

    try:
        with av.open(str(path)) as container:
            return container.streams.video[0].frames or None
    except (av.FFmpegError, OSError, IndexError):  # `read_video` says what is wrong
        return None


class VideoWriter:
    """Write an H.264 file, image by image; the file is complete when the block ends.

        with VideoWriter("overlay.mp4") as video:
            video.write(picture, 0.0)

    Args:
        path: The file.
        rate: Images per second; None: each image has its own time.
    """

    def __init__(self, path: str | Path, rate: float | None = None) -> None:
        import av

        self._av, self._timed = av, rate is None
        self._container = av.open(str(path), "w", options={"movflags": "+faststart"})
        nominal = Fraction(30 if rate is None else rate).limit_denominator(1000)
        self._stream: Any = self._container.add_stream("libx264", rate=nominal)
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "23", "preset": "veryfast"}
        if self._timed:
            self._stream.codec_context.time_base = _TICK
        self.count = 0

    def write(self, picture: np.ndarray, time_s: float = 0.0) -> None:
        """Add an image, uint8 (H, W, 3) RGB with even H and W, all of one size.

        `time_s` is its time in seconds, later than that of the last image.
        """
        if not self.count:
            self._stream.height, self._stream.width = picture.shape[:2]
        frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        if self._timed:
            frame.pts, frame.time_base = round(time_s / _TICK), _TICK
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def close(self) -> None:
        """Complete the file."""
        with self._container:
            if self.count:
                self._container.mux(self._stream.encode(None))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_video(path: str | Path, frames: Iterable[np.ndarray], rate: float) -> None:
    """Write images, uint8 (H, W, 3) RGB with even H and W, at `rate` per second.

    Raises:
        ValueError: There are no frames.
    """
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"no frames for the video {path}")
    with VideoWriter(path, rate) as video:
        for picture in chain([first], pictures):
            video.write(picture)
