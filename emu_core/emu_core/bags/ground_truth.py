"""Ground truth in a bag, on two topics next to the topic of the images.

The functions raise BagError for a damaged message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from emu_core.bags.errors import BagError
from emu_core.data.cityscapes import decode_disparity
from emu_core.labels import CITYSCAPES

if TYPE_CHECKING:
    from emu_core.bags.types import CompressedImage

CLASSES = CITYSCAPES

LABELS = "/ground_truth/labels"
"""CompressedImage: PNG of train ids of `CLASSES`, uint8, 255 where unlabelled."""

DISPARITY = "/ground_truth/disparity"
"""CompressedImage: 16-bit PNG, Cityscapes' disparity code for the camera's fx and `BASELINE`."""

BASELINE = 0.22
"""Baseline of the virtual stereo camera that the disparity code refers to, metres."""


def labels(message: CompressedImage) -> np.ndarray:
    """Train ids, uint8 (H,W), of a decoded message of `LABELS`."""
    return _decode(message, LABELS, np.uint8)


def depth(message: CompressedImage, focal: float, max_depth: float) -> np.ndarray:
    """Metres, float32 (H,W), NaN where invalid, of a decoded message of `DISPARITY`.

    `focal` is fx of the camera image in pixels. Beyond `max_depth` metres, the result is invalid.
    """
    return decode_disparity(_decode(message, DISPARITY, np.uint16), focal, BASELINE, max_depth)


def _decode(message: CompressedImage, topic: str, dtype: type) -> np.ndarray:
    code = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(code, cv2.IMREAD_UNCHANGED) if code.size else None
    if image is None or image.dtype != dtype or image.ndim != 2:
        raise BagError(f"{topic}: a message is not a grey {np.dtype(dtype).name} PNG.")
    return image
