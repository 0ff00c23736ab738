"""Write H.264 files that browsers play. Needs PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

_TICK = Fraction(1, 90_000)
"""Time base of videos with a time for each frame, seconds; the usual one."""


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
