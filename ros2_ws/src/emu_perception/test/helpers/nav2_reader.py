"""How Nav2's semantic segmentation layer reads a mask, its confidence and its cloud.

Its rules, read in the C++ of kiwicampus/semantic_segmentation_layer and written anew, with what
trips it over left in: they are why the node's messages are as they are.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

FLOAT32 = 7  # of sensor_msgs/PointField


class NullPointerError(Exception):
    """What takes the planner's process down."""


class SemanticLayer:
    """One camera's part of the costmap: tile (column, row) → (class name, confidence 0…255).

    `camera_to_map` is a 4 × 4 transform; `configured` are the class names that the costmap's
    parameters have costs for.
    """

    def __init__(
        self,
        camera_to_map: np.ndarray,
        configured: set[str],
        resolution: float = 0.25,
        max_distance: float = 20.0,
    ) -> None:
        self.tiles: dict[tuple[int, int], tuple[str, int]] = {}
        self._transform, self._configured = camera_to_map, configured
        self._resolution, self._max_distance = resolution, max_distance
        self._names: dict[int, str] | None = None

    def take_label_info(self, info: Any) -> None:
        """Classes that are not configured are ignored."""
        self._names = {
            entry.class_id: entry.class_name
            for entry in info.class_map
            if entry.class_name in self._configured
        }

    def take(self, mask: Any, confidence: Any, cloud: Any) -> None:
        """What one synchronised set of messages does to the tiles."""
        if mask.width * mask.height != cloud.width * cloud.height:
            return  # it logs an error; the confidence's size it never looks at
        best: dict[tuple[int, int], int] = {}
        for index, point in enumerate(self._points_in_map(cloud)):
            if not math.isfinite(point[2]):
                continue
            if np.linalg.norm(point - self._transform[:3, 3]) >= self._max_distance:
                continue
            column, row = (math.floor(p / self._resolution) for p in point[:2])
            tile = (column, row)
            # Whatever its id: the first point takes a tile, a more confident one takes it over.
            if tile not in best or confidence.data[index] > confidence.data[best[tile]]:
                best[tile] = index
        if self._names is None:
            raise NullPointerError("a mask and a cloud came before any LabelInfo")
        for tile, index in best.items():
            name = self._names.get(mask.data[index])
            if name is not None:  # an id without a name is dropped only now, with its tile
                self.tiles[tile] = (name, confidence.data[index])

    def _points_in_map(self, cloud: Any) -> list[np.ndarray]:
        """The points in the order of memory, as its iterators step: by point_step alone."""
        offsets = {}
        for field in cloud.fields:
            if field.name in "xyz":
                assert field.datatype == FLOAT32, f"{field.name} is read as FLOAT32"
                offsets[field.name] = field.offset
        data = bytes(cloud.data)
        points = [
            [struct.unpack_from("<f", data, start + offsets[axis])[0] for axis in "xyz"] + [1.0]
            for start in range(0, len(data), cloud.point_step)
        ]
        return list((np.array(points) @ self._transform.T)[:, :3])
