"""Files of one predicted picture, all with the pixels of the picture.

| file | content |
|---|---|
| `overlay.png` | class colours over the picture; the more certain, the more opaque |
| `panel.png` | all maps in one small picture, with a legend |
| `classes.png` | train ids, 8 bits; 255: no class |
| `classes_color.png` | colours of the classes |
| `class_uncertainty.png` | entropy / ln C, 16 bits, 65535 is 1 |
| `depth.png`, `depth_std.png` | metres × 256, 16 bits, see `to_png` |
| `depth.npy`, `depth_std.npy` | metres, float32; +Inf: sky or beyond the range, NaN: no estimate |
| `points.ply` | coloured points in metres, see `cloud.point_cloud`; one per pixel of the model |
| `camera.json` | fx, fy, cx, cy in pixels of the picture, and where they come from |
| `seen.csv` | a line for each class, see `table` |
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emu_core.data.cityscapes import write_png
from emu_core.data.sample import DataError
from emu_core.files import write_atomically, write_json, write_text
from emu_core.labels import ClassTable
from emu_core.predict.cloud import point_cloud, write_ply
from emu_core.predict.lens import Lens
from emu_core.predict.table import Row, TableWriter
from emu_core.runtime.fitting import Fitting
from emu_core.runtime.overlay import blend, colorize_labels, panel
from emu_core.runtime.perceiver import Perception

INFINITE, LARGEST = 65535, 65534
"""Codes of +Inf, and of the largest finite values (256 m and more), in 16-bit PNG files."""

MAX_STD_RATIO = 0.3
"""Points with a larger relative deviation of depth are left out, as by the node."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A picture and what the model saw in it.

    Attributes:
        rgb: The picture, uint8 (h, w, 3).
        perception: Maps (H, W) of the model.
        lens: Lens of the picture.
        fitting: From the picture to the maps.
        table: Classes of the labels.
        seen: Survey of the classes, see `table.survey`.
    """

    rgb: np.ndarray
    perception: Perception
    lens: Lens
    fitting: Fitting
    table: ClassTable
    seen: dict[str, Row]

    def points(self, max_std_ratio: float = MAX_STD_RATIO) -> np.ndarray:
        """Return the coloured points, see `cloud.point_cloud`."""
        camera = self.lens.intrinsics
        return point_cloud(self.perception, self.rgb, self.fitting, camera, max_std_ratio)

    def panel(self, *caption: str) -> np.ndarray:
        """Return all maps in one picture, RGB; it says if the scale of depth is a guess."""
        return panel(self.rgb, self.perception, self.table, (*caption, self.lens.caption))


def write_prediction(
    folder: Path, name: str, prediction: Prediction, max_std_ratio: float = MAX_STD_RATIO
) -> None:
    """Write all files of a picture; those of absent maps are removed from an earlier run.

    Args:
        folder: Folder of the picture's results; it is created.
        name: Name of the picture in the table.
        prediction: What to write.
        max_std_ratio: See `cloud.point_cloud`.

    Raises:
        DataError: There is a file in the place of the folder.
        DiskFullError: There is no space left.
    """
    if folder.is_file():
        raise DataError(f"The results cannot be written into {folder}: it is a file.")
    p, size = prediction.perception, prediction.rgb.shape[:2]
    images: dict[str, np.ndarray | None] = dict.fromkeys(IMAGES)
    arrays: dict[str, np.ndarray | None] = dict.fromkeys(ARRAYS)
    images["panel.png"] = prediction.panel()
    if p.labels is not None and p.label_uncertainty is not None:
        labels, uncertainty = _enlarged(p.labels, size), _enlarged(p.label_uncertainty, size)
        images["classes.png"] = labels
        images["classes_color.png"] = colorize_labels(labels, prediction.table)
        images["overlay.png"] = blend(prediction.rgb, labels, uncertainty, prediction.table)
        images["class_uncertainty.png"] = np.round(uncertainty * 65535).astype(np.uint16)
    if p.depth is not None:
        arrays["depth.npy"] = depth = _enlarged(p.depth, size)
        images["depth.png"] = to_png(depth)
    if p.depth_std is not None:
        arrays["depth_std.npy"] = std = _enlarged(p.depth_std, size)
        images["depth_std.png"] = to_png(std)
    for file, image in images.items():
        _write(folder / file, image, write_png)
    for file, array in arrays.items():
        _write(folder / file, array, write_npy)
    points = prediction.points(max_std_ratio) if p.depth is not None else None
    _write(folder / "points.ply", points, write_ply)
    fx, fy, cx, cy = prediction.lens.intrinsics
    write_json(
        folder / "camera.json",
        {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "scale": prediction.lens.origin},
    )
    text = io.StringIO(newline="")
    TableWriter(text).add(name, prediction.seen)
    write_text(folder / "seen.csv", text.getvalue())


IMAGES = (
    *("overlay.png", "panel.png", "classes.png", "classes_color.png", "class_uncertainty.png"),
    *("depth.png", "depth_std.png"),
)
ARRAYS = ("depth.npy", "depth_std.npy")


def to_png(metres: np.ndarray) -> np.ndarray:
    """Encode metres, float (H, W), as round(256 · metres) in uint16, KITTI's convention.

    0 means no estimate (NaN), 65535 +Inf: sky or beyond the model's range. Other values lie from 1
    to 65534; the largest also stands for all finite values from 256 m on.
    """
    known = np.isfinite(metres)
    scaled = np.round(256 * np.where(known, metres, 0))
    codes = np.where(known, np.clip(scaled, 1, LARGEST), np.where(np.isnan(metres), 0, INFINITE))
    return codes.astype(np.uint16)


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write an array in one step."""
    write_atomically(path, lambda part: np.save(part, array))


def _enlarged(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize a map to (height, width) by the nearest neighbour, which mixes no values."""
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _write(
    path: Path, content: np.ndarray | None, write: Callable[[Path, np.ndarray], None]
) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        write(path, content)
