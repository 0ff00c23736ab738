"""Nav2's semantic segmentation layer: how it reads a mask, its confidence and its point cloud.

The rules are those of the C++ code of kiwicampus/semantic_segmentation_layer, with its weaknesses:
they are the reason for many details of the node's messages.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from sensor_msgs.msg import Image, PointCloud2

FLOAT32 = 7  # of sensor_msgs/PointField


class SemanticLayer:
    """Tiles of the costmap for one camera: (column, row) → (class name, confidence 0 to 255).

    `camera_to_map` is a 4 × 4 transform; `info` is the LabelInfo (a mask before it ends the
    planner's process); `configured` are the class names with costs in the costmap's parameters.
    """

    def __init__(
        self,
        camera_to_map: np.ndarray,
        info: Any,
        configured: set[str],
        resolution: float = 0.25,
        max_distance: float = 20.0,
    ) -> None:
        self.tiles: dict[tuple[int, int], tuple[str, int]] = {}
        self._transform = camera_to_map
        self._resolution, self._max_distance = resolution, max_distance
        self._names: dict[int, str] = {
            entry.class_id: entry.class_name
            for entry in info.class_map
            if entry.class_name in configured
        }

    def take(self, mask: Image, confidence: Image, cloud: PointCloud2) -> None:
        """Update the tiles with one synchronised set of messages."""
        if mask.width * mask.height != cloud.width * cloud.height:
            return  # it logs an error; it never checks the size of the confidence
        best: dict[tuple[int, int], int] = {}
        for index, point in enumerate(self._points_in_map(cloud)):
            if not math.isfinite(point[2]):
                continue
            if np.linalg.norm(point - self._transform[:3, 3]) >= self._max_distance:
                continue
            column, row = (math.floor(p / self._resolution) for p in point[:2])
            tile = (column, row)
            # The first point takes a tile; a more confident one of any id replaces it.
            if tile not in best or confidence.data[index] > confidence.data[best[tile]]:
                best[tile] = index
        for tile, index in best.items():
            name = self._names.get(mask.data[index])
            if name is not None:  # only here an id without a name is dropped, and its tile with it
                self.tiles[tile] = (name, confidence.data[index])

    def _points_in_map(self, cloud: PointCloud2) -> list[np.ndarray]:
        """The points in the order of memory, as its iterators see them: only by point_step."""
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
