"""Write H.264 videos that browsers play. Needs the package `av` (PyAV)."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np


def write_video(path: str | Path, frames: Iterable[np.ndarray], rate: float) -> None:
    """Write images, uint8 (H, W, 3) RGB with even H and W, at `rate` per second.

    Raises:
        ValueError: There are no frames.
    """
    import av

    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"no frames for the video {path}")
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        for picture in chain([first], pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
