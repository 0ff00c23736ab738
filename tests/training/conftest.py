"""Frames to train on that take no time to write."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_noise(write_frame):
    """Function that writes frames of noise: three classes and any depth, the same every time."""

    def write(root, frames, size=(64, 128), focal=100.0, codes=(400, 4000)):
        """`frames` are pairs of split and name; `codes` bounds the disparity's code."""
        rng = np.random.default_rng(0)
        height, width = size
        camera = {
            "extrinsic": {"baseline": 0.22},
            "intrinsic": {"fx": focal, "fy": focal, "u0": width / 2 - 0.5, "v0": height / 2 - 0.5},
        }
        for split, name in frames:
            write_frame(
                root, split, name,
                rng.integers(0, 256, (*size, 3), np.uint8),
                rng.choice(np.array([7, 11, 23], np.uint8), size),
                rng.integers(*codes, size).astype(np.uint16), camera,
            )  # fmt: skip

    return write
