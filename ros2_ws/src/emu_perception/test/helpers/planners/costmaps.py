"""Nav2's obstacle layer and voxel layer: how they mark and clear with point clouds.

The rules are those of nav2_costmap_2d: ObservationBuffer::bufferCloud, ObstacleLayer::updateBounds
and raytraceFreespace, VoxelLayer::updateBounds and raytraceFreespace, Costmap2D::raytraceLine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sensor_msgs.msg import PointCloud2

from helpers.clouds import positions

FREE, LETHAL, NO_INFORMATION = 0, 254, 255


class ObstacleLayer:
    """A square costmap around the camera; cells[row, column] is y, x.

    Args:
        camera_to_map: 4 x 4; the map has z up.
        size: metres from the camera to each edge.
        heights: min_obstacle_height and max_obstacle_height of both sources, metres in the map.
        obstacle_range, raytrace_range: obstacle_max_range and raytrace_max_range.
    """

    def __init__(
        self,
        camera_to_map: np.ndarray,
        size: float = 20.0,
        resolution: float = 0.1,
        heights: tuple[float, float] = (-0.5, 2.0),
        obstacle_range: float = 15.0,
        raytrace_range: float = 20.0,
    ) -> None:
        self.transform, self.heights, self.resolution = camera_to_map, heights, resolution
        self.obstacle_range, self.raytrace_range = obstacle_range, raytrace_range
        self.camera = camera_to_map[:3, 3]
        self.origin = self.camera[:2] - size
        self.cells = np.full((round(2 * size / resolution),) * 2, NO_INFORMATION, np.uint8)

    def update(self, marking: PointCloud2, clearing: PointCloud2) -> None:
        """Clear, and then mark, as in one cycle of the costmap."""
        self._clear(self._buffered(clearing))
        self._mark(self._buffered(marking))

    def _buffered(self, cloud: PointCloud2) -> np.ndarray:
        """The points in the map, (N, 3): the buffer keeps those between its heights."""
        points = positions(cloud).reshape(-1, 3) @ self.transform[:3, :3].T + self.camera
        low, high = self.heights
        with np.errstate(invalid="ignore"):
            return points[(points[:, 2] <= high) & (points[:, 2] >= low)]  # NaN fails both

    def cell(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns of positions (N, 2), and whether they are inside."""
        column, row = np.floor((xy - self.origin) / self.resolution).astype(int).T
        inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < len(self.cells))
        return row, column, inside

    def _near(self, points: np.ndarray) -> np.ndarray:
        return points[np.linalg.norm(points - self.camera, axis=1) < self.obstacle_range]

    def _mark(self, points: np.ndarray) -> None:
        row, column, inside = self.cell(self._near(points)[:, :2])
        self.cells[row[inside], column[inside]] = LETHAL

    def _clear(self, points: np.ndarray) -> None:
        """Bresenham's lines from the camera's cell to those of the points, both included."""
        (start,) = np.stack(self.cell(self.camera[None, :2])[:2], axis=-1)
        row, column, inside = self.cell(points[:, :2])
        ends = np.unique(np.stack([row, column], axis=-1)[inside], axis=0)
        for cells in lines(start, ends, self.raytrace_range / self.resolution):
            self.cells[cells[:, 0], cells[:, 1]] = FREE


class VoxelLayer(ObstacleLayer):
    """Columns of voxels below the costmap, from `origin_z` up.

    One marked voxel makes a column lethal; a column becomes free when its last one is cleared.
    """

    def __init__(
        self, camera_to_map: np.ndarray, origin_z: float = 0.0, z_voxels: int = 16, **given: float
    ) -> None:
        super().__init__(camera_to_map, **given)
        self.origin_z, self.z_resolution = origin_z, 0.2
        self.marked = np.zeros((*self.cells.shape, z_voxels), bool)

    def _voxel(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row, column, inside = self.cell(points[:, :2])
        z = np.floor((points[:, 2] - self.origin_z) / self.z_resolution).astype(int)
        inside &= (z >= 0) & (z < self.marked.shape[2])
        return np.stack([row, column, z], axis=-1), inside

    def _mark(self, points: np.ndarray) -> None:
        points = self._near(points)
        points[:, 2] = np.maximum(points[:, 2], self.origin_z)
        voxels, inside = self._voxel(points)
        row, column, z = voxels[inside].T
        self.marked[row, column, z] = True
        self.cells[row, column] = LETHAL

    def _clear(self, points: np.ndarray) -> None:
        """Lines that end two cells before each point, and at the top and bottom of the grid."""
        rays = points - self.camera
        distance = np.linalg.norm(rays, axis=1)
        rays *= np.clip((distance - 2 * self.resolution) / distance, 0, 1)[:, None]
        top = self.origin_z + self.z_resolution * self.marked.shape[2] - 0.01
        limit = np.where(rays[:, 2] > 0, top, self.origin_z) - self.camera[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.clip(np.nan_to_num(limit / rays[:, 2], nan=1.0), 0, 1)
        voxels, inside = self._voxel(self.camera + rays * (t - 1e-5)[:, None])
        start, _ = self._voxel(self.camera[None])
        ends = np.unique(voxels[inside], axis=0)
        for cells in lines(start[0], ends, self.raytrace_range / self.resolution):
            row, column, z = cells.T
            self.marked[row, column, z] = False
            self.cells[row, column] = np.where(
                self.marked[row, column].any(axis=-1), self.cells[row, column], FREE
            )


def lines(start: np.ndarray, ends: np.ndarray, longest: float) -> Iterator[np.ndarray]:
    """Yield the cells of all lines, one step of each at a time.

    They are those that Costmap2D::raytraceLine visits.

    Args:
        start: the first cell, integers (D,).
        ends: the last cells, (N, D).
        longest: length in the plane of the first two axes, in cells, at which lines are cut.
    """
    steps = ends - start
    length = np.abs(steps).max(axis=1)
    scale = np.minimum(1.0, longest / np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-9))
    last = (scale * length).astype(int)
    for i in range(int(last.max(initial=0)) + 1):
        active = last >= i
        size = np.maximum(length[active], 1)[:, None]
        moved = (size // 2 + i * np.abs(steps[active])) // size
        yield start + np.sign(steps[active]) * moved
