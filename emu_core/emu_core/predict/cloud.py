"""Coloured point clouds of a picture, and PLY files of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emu_core.files import write_atomically
from emu_core.runtime.fitting import Fitting, resize
from emu_core.runtime.perceiver import Perception, usable_depth

_PLY_TYPES = {"<f4": "float", "|u1": "uchar"}


def point_cloud(
    perception: Perception,
    rgb: np.ndarray,
    fitting: Fitting,
    intrinsics: tuple[float, float, float, float],
    max_std_ratio: float,
) -> np.ndarray:
    """Return a point for each pixel of the maps with a usable depth.

    A depth is usable if it is finite and depth_std ≤ `max_std_ratio` · depth.

    Args:
        perception: Maps (H, W).
        rgb: The picture, uint8 (h, w, 3).
        fitting: From the picture to the maps.
        intrinsics: fx, fy, cx, cy in pixels of the picture.
        max_std_ratio: Limit of the relative deviation.

    Returns:
        Records (N,): x right, y down, z forward in metres, red, green, blue; and where the model
        has them, label, label_uncertainty and depth_std.
    """
    depth = perception.depth
    if depth is None:
        raise ValueError("Expected argument `perception` to have a depth, but it has none")
    usable = usable_depth(depth, perception.depth_std, max_std_ratio)
    rows, columns = np.nonzero(usable)
    fx, fy, cx, cy = fitting.intrinsics(*intrinsics)
    z = depth[usable]
    points: dict[str, np.ndarray] = {
        "x": ((columns - cx) / fx * z).astype(np.float32),
        "y": ((rows - cy) / fy * z).astype(np.float32),
        "z": z,
    }
    colors = resize(rgb, depth.shape)[usable]
    points |= dict(zip(("red", "green", "blue"), colors.T, strict=True))
    maps = perception.maps()
    names = {"labels": "label", "label_uncertainty": "label_uncertainty", "depth_std": "depth_std"}
    points |= {name: maps[key][usable] for key, name in names.items() if key in maps}
    records = np.empty(len(z), [(name, values.dtype) for name, values in points.items()])
    for name, values in points.items():
        records[name] = values
    return records


def write_ply(path: Path, points: np.ndarray) -> None:
    """Write records of float32 and uint8 as vertices of a binary little-endian PLY file."""
    names = points.dtype.names or ()
    kinds = [(name, _PLY_TYPES[points.dtype[name].str]) for name in names]
    header = [
        *("ply", "format binary_little_endian 1.0"),
        "comment metres; x right, y down, z forward",
        f"element vertex {len(points)}",
        *(f"property {kind} {name}" for name, kind in kinds),
        "end_header",
    ]
    content = ("\n".join(header) + "\n").encode() + points.tobytes()
    write_atomically(path, lambda part: part.write_bytes(content))
