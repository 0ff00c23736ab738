"""What the page shows of a prediction, without what is too uncertain."""

from __future__ import annotations

import json
import struct
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emu_core.files import write_atomically
from emu_core.labels import IGNORE
from emu_core.predict.outputs import Prediction
from emu_core.runtime import overlay

VIEWS = ("Classes", "Class uncertainty", "Depth", "Depth deviation")
MAX_POINTS = 100_000
"""More points make a page slow that has no graphics card."""

FARTHEST = 50.0
"""Points beyond this, metres, would make the street small."""

_HIDDEN = (40, 40, 44)
_FLOAT, _USHORT, _POINTS = 5126, 5123, 0  # constants of glTF

_NUMBERS = count()
"""Number of each cloud that this process writes."""

_CODES = np.arange(256) / 255
_LINEAR = np.round(
    65535 * np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4)
).astype(np.uint16)
"""The light of sRGB's codes (IEC 61966-2-1), which glTF demands, in 16 bits."""


def views(prediction: Prediction, certainty: float) -> dict[str, np.ndarray | None]:
    """Return an image for each of `VIEWS`, RGB with the aspect ratio of the picture.

    A map that the model does not have is None. Pixels below a certainty are hidden: those of the
    classes where 1 − entropy / ln C is lower, those of depth where 1 − deviation / depth is. Sky
    has no deviation and stays.

    Args:
        prediction: The prediction.
        certainty: 0 hides nothing, 1 all that is not absolutely certain.
    """
    p, table = prediction.perception, prediction.table
    images: dict[str, np.ndarray | None] = dict.fromkeys(VIEWS)
    if p.labels is not None and p.label_uncertainty is not None:
        hidden = 1 - p.label_uncertainty < certainty
        labels = np.where(hidden, np.uint8(IGNORE), p.labels)
        images["Classes"] = overlay.blend(
            prediction.rgb, labels, np.zeros_like(p.label_uncertainty), table, 0.6
        )
        colors = overlay.colorize_label_uncertainty(p.label_uncertainty)
        images["Class uncertainty"] = _without(colors, hidden)
    if p.depth is not None:
        uncertain = np.zeros(p.depth.shape, bool)
        if p.depth_std is not None:
            with np.errstate(invalid="ignore"):
                uncertain = ~(p.depth_std <= (1 - certainty) * p.depth) & np.isfinite(p.depth)
            colors = overlay.colorize_depth_std(p.depth_std)
            images["Depth deviation"] = _without(colors, uncertain)
        images["Depth"] = _without(overlay.colorize_depth(p.depth), uncertain)
    height, width = prediction.rgb.shape[:2]
    return {name: _shaped(image, height / width) for name, image in images.items()}


def _without(colors: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    colors[hidden] = _HIDDEN
    return colors


def _shaped(image: np.ndarray | None, ratio: float) -> np.ndarray | None:
    """Resize an image to this height / width, without fewer pixels."""
    if image is None:
        return None
    height, width = image.shape[:2]
    size = (width, max(1, round(width * ratio)))
    if size[1] < height:
        size = (max(1, round(height / ratio)), height)
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)


def write_cloud(path: Path, prediction: Prediction, certainty: float) -> bool:
    """Write the points with enough certainty as a glTF file; False if there are none.

    y points up and z backwards, as glTF demands. If there are more than `MAX_POINTS`, only every
    n-th is written; none is beyond `FARTHEST`.
    """
    if prediction.perception.depth is None:
        return False
    points = prediction.points(max_std_ratio=1 - certainty)
    points = points[points["z"] <= FARTHEST]
    points = points[:: -(-len(points) // MAX_POINTS) or 1]
    if not len(points):
        return False
    xyz = np.stack([points["x"], -points["y"], -points["z"]], -1).astype("<f4")
    srgb = np.stack([points["red"], points["green"], points["blue"]], -1)
    colors = np.hstack([_LINEAR[srgb], np.full((len(points), 1), 65535, np.uint16)])
    content = _gltf(xyz, colors)
    write_atomically(path, lambda part: part.write_bytes(content))
    return True


def _gltf(xyz: np.ndarray, colors: np.ndarray) -> bytes:
    """Return a binary glTF 2.0 file with points, float32 (N, 3) and linear RGBA uint16 (N, 4).

    No two files have the same content: Gradio gives equal files one address, and does not show
    a cloud whose address arrives twice while the browser loads the 3D viewer.
    """
    number, size = len(xyz), [xyz.nbytes, colors.nbytes]
    bounds = {"min": xyz.min(0).tolist(), "max": xyz.max(0).tolist()}
    place: dict[str, Any] = {"bufferView": 0, "componentType": _FLOAT, "type": "VEC3", **bounds}
    color = {"bufferView": 1, "componentType": _USHORT, "type": "VEC4", "normalized": True}
    points = {"mode": _POINTS, "attributes": {"POSITION": 0, "COLOR_0": 1}, "material": 0}
    scene = {
        "asset": {"version": "2.0", "extras": {"file": next(_NUMBERS)}},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [points]}],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}}],
        "extensionsUsed": ["KHR_materials_unlit"],
        "accessors": [{"count": number, **each} for each in (place, color)],
        "bufferViews": [
            {"buffer": 0, "byteLength": size[0]},
            {"buffer": 0, "byteOffset": size[0], "byteLength": size[1]},
        ],
        "buffers": [{"byteLength": sum(size)}],
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    body = xyz.tobytes() + colors.tobytes()
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(body))
    return (
        head
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(body), b"BIN\0")
        + body
    )
