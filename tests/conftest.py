"""Fixtures that tests of several modules share."""

import json

import cv2
import numpy as np
import pytest

AACHEN = {
    "extrinsic": {
        "baseline": 0.209313,
        "pitch": 0.038,
        "roll": 0.0,
        "x": 1.7,
        "y": 0.1,
        "yaw": -0.0195,
        "z": 1.22,
    },
    "intrinsic": {"fx": 2262.52, "fy": 2265.3017905988554, "u0": 1096.98, "v0": 513.137},
}
"""What Cityscapes' camera files hold, for images of 2048 × 1024."""


@pytest.fixture
def write_frame():
    """Function that writes a frame's four files in Cityscapes' layout, without code under test."""
    return _write_frame


def _write_frame(root, split, name, rgb=None, ids=None, raw=None, camera=None, size=(24, 48)):
    city = name.split("_")[0]
    rgb = np.full((*size, 3), 90, np.uint8) if rgb is None else rgb
    ids = np.full(size, 7, np.uint8) if ids is None else ids
    raw = np.full(size, 4000, np.uint16) if raw is None else raw
    for folder, suffix, image in (
        ("leftImg8bit", "leftImg8bit.png", rgb[..., ::-1]),
        ("gtFine", "gtFine_labelIds.png", ids),
        ("disparity", "disparity.png", raw),
    ):
        path = root / folder / split / city / f"{name}_{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)
    path = root / "camera" / split / city / f"{name}_camera.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(camera or AACHEN))
