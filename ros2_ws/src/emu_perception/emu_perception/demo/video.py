"""Write H.264 videos that browsers play. Needs the package `av` (PyAV)."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np


def write_video(path: str | Path, frames: Iterable[np.ndarray], rate: float) -> int:
    """Write images, uint8 (H, W, 3) RGB with even H and W, at `rate` per second.

    Returns:
        The number of frames.

    Raises:
        ValueError: There are no frames.
    """
    import av

    count = 0
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        for picture in frames:
            if not count:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            count += 1
        if not count:
            raise ValueError(f"no frames for the video {path}")
        container.mux(stream.encode(None))
    return count
