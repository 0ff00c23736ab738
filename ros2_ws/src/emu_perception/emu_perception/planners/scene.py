"""Obstacles, ground and free space of one frame, as points. Imports no ROS.

All arrays have the size of the maps divided by the stride, (H, W), and all points are (H, W, 3),
in metres in the optical frame (x right, y down, z forward), NaN where a pixel has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emu_core.bags.distortion import Rays
from emu_core.runtime.perceiver import usable_depth
from emu_perception.planners.classes import Roles
from emu_perception.planners.ground import GroundPlane, fit_ground

_LEVEL = np.array([0.0, -1.0, 0.0], np.float32)
"""Upwards for a camera that looks straight ahead."""


@dataclass(frozen=True)
class Limits:
    """Limits of the node's parameters of the same names.

    Attributes:
        doubtful_above: Label uncertainty above which a class is doubtful.
        max_depth_std_ratio: depth_std / depth above which a position is unusable.
        min_obstacle_height: Distance from the ground below which nothing is an obstacle, metres.
        max_obstacle_height: Height over the ground above which obstacles do not matter, metres.
        clearing_range: Length of the longest ray, metres.
        clearing_sigmas: Standard deviations of depth between a ray's end and what it met.
    """

    doubtful_above: float
    max_depth_std_ratio: float
    min_obstacle_height: float
    max_obstacle_height: float
    clearing_range: float
    clearing_sigmas: float


def strided(array: np.ndarray, stride: int) -> np.ndarray:
    """Return every n-th row and column of an array (H, W, …), contiguous."""
    return array if stride == 1 else np.ascontiguousarray(array[::stride, ::stride])


def has_position(
    depth: np.ndarray, depth_std: np.ndarray | None, max_ratio: float, rays: Rays
) -> np.ndarray:
    """Whether a pixel has a usable depth (`usable_depth`) and a ray, bool (H, W)."""
    usable = usable_depth(depth, depth_std, max_ratio)
    return usable if rays.known is None else usable & rays.known


class Scene:
    """What the maps of a frame say about obstacles, ground and free space.

    Args:
        maps: labels, label_uncertainty and depth of a frame, with depth_std if the model has it;
            sky that is not certain has no depth of +Inf.
        rays: rays of the pixels.
        sky: Train id of the sky, or None.
    """

    def __init__(
        self,
        maps: Mapping[str, np.ndarray],
        rays: Rays,
        roles: Roles,
        sky: int | None,
        limits: Limits,
    ) -> None:
        self._labels, self._depth, self._std = maps["labels"], maps["depth"], maps.get("depth_std")
        self._rays, self._roles, self._sky, self._limits = rays, roles, sky, limits
        self._certain = maps["label_uncertainty"] <= limits.doubtful_above
        self._usable = has_position(self._depth, self._std, limits.max_depth_std_ratio, rays)

    @cached_property
    def on_ground(self) -> np.ndarray:
        """Whether a pixel with a position certainly has a class of the ground, bool (H, W)."""
        return self._usable & self._certain & self._roles.ground[self._labels]

    @cached_property
    def plane(self) -> GroundPlane | None:
        """The plane through the pixels of the ground; None if there is none."""
        return fit_ground(self._points(self._depth)[self.on_ground])

    @cached_property
    def height(self) -> np.ndarray | None:
        """Height over the ground plane, metres, float32 (H, W); None without a plane."""
        if self.plane is None:
            return None
        with np.errstate(invalid="ignore"):  # Inf · 0
            return self._depth * self._rise + np.float32(self.plane.camera_height)

    @cached_property
    def is_obstacle(self) -> np.ndarray:
        """Whether a pixel with a position is an obstacle, bool (H, W).

        Everything is that is not certainly ground or ignored, also pixels without a class, except
        near the ground plane.
        """
        harmless = self._roles.ground | self._roles.ignored
        found = self._usable & ~(self._certain & harmless[self._labels])
        if self.height is not None:
            found &= np.abs(self.height) >= self._limits.min_obstacle_height
        return found

    @cached_property
    def _is_sky(self) -> np.ndarray:
        """Whether a pixel is certainly sky, bool (H, W)."""
        if self._sky is None:
            return np.zeros(self._labels.shape, bool)
        return (self._labels == self._sky) & self._certain & np.isinf(self._depth)

    def obstacles(self) -> np.ndarray:
        """Return the points of obstacles."""
        return self._points(np.where(self.is_obstacle, self._depth, np.float32(np.nan)))

    def ground(self) -> np.ndarray:
        """Return the points that are certainly ground."""
        return self._points(np.where(self.on_ground, self._depth, np.float32(np.nan)))

    def clearing(self) -> np.ndarray:
        """Return the ends of the rays along which space is free.

        Only pixels with a certain class have one. It ends `clearing_sigmas` standard deviations
        before the depth of its pixel; for the sky, at `clearing_range`, which limits all rays.
        With a ground plane, it also ends where it leaves the heights from 0 to
        `max_obstacle_height`: what it meets above says nothing about the robot's space. Seen from
        above, no ray passes an obstacle in these heights, so two-dimensional grids can use the
        rays. Without a plane, heights are unknown: every obstacle ends the rays in its direction,
        and nothing is free in the direction of a pixel without a depth that is not certainly sky.
        """
        reach = np.where(self._certain, self._before(), np.float32(0))  # metres along Z
        limit = self._limits.clearing_range / self._length
        reach[self._is_sky] = limit[self._is_sky]
        reach = np.minimum(reach, limit)
        if self.plane is not None:
            reach = np.minimum(reach, self._within_heights(self.plane))
        reach = np.minimum(reach, self._before_obstacles())
        unknown = ~(reach > 0)
        if self._rays.known is not None:
            unknown |= ~self._rays.known
        reach[unknown] = np.nan
        return self._points(reach)

    def _points(self, z: np.ndarray) -> np.ndarray:
        return np.stack([self._rays.x * z, self._rays.y * z, z], axis=-1)

    @property
    def _up(self) -> np.ndarray:
        return _LEVEL if self.plane is None else self.plane.up

    @cached_property
    def _rise(self) -> np.ndarray:
        """Height that a ray gains per metre along Z."""
        up = self._up
        return self._rays.x * up[0] + self._rays.y * up[1] + up[2]

    @cached_property
    def _length(self) -> np.ndarray:
        """Length of a ray per metre along Z."""
        return np.sqrt(self._rays.x**2 + self._rays.y**2 + np.float32(1))

    def _before(self) -> np.ndarray:
        """Depth that certainly lies before what a pixel shows; 0 without a usable depth."""
        assert self._std is not None, "without depth_std, no depth is trusted"
        with np.errstate(invalid="ignore"):  # Inf - Inf
            before = self._depth - np.float32(self._limits.clearing_sigmas) * self._std
        return np.where(self._usable, before, np.float32(0))

    def _within_heights(self, plane: GroundPlane) -> np.ndarray:
        """Depth at which a ray leaves the heights from 0 to `max_obstacle_height`."""
        above = max(self._limits.max_obstacle_height - plane.camera_height, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.where(self._rise > 0, above, -plane.camera_height) / self._rise
        return np.where(self._rise == 0, np.float32(np.inf), depth).astype(np.float32)

    def _before_obstacles(self) -> np.ndarray:
        """Depth at which a ray passes, seen from above, the nearest obstacle in its direction."""
        up = self._up.astype(np.float64)
        forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, up)
        x, y = self._rays.x, self._rays.y
        to_right = x * np.float32(right[0]) + y * np.float32(right[1]) + np.float32(right[2])
        ahead = x * np.float32(forward[0]) + y * np.float32(forward[1]) + np.float32(forward[2])
        level = np.hypot(to_right, ahead)  # horizontal metres per metre along Z
        azimuth = np.arctan2(to_right, ahead)
        known = np.isfinite(azimuth)
        if not known.any():
            return np.zeros_like(azimuth)
        lowest, highest = azimuth[known].min(), azimuth[known].max()
        # Two columns of pixels per sector, so that every sector meets pixels of every row.
        sectors = max(1, azimuth.shape[1] // 2)
        scale = sectors / max(float(highest - lowest), 1e-6)
        sector = np.clip((np.where(known, azimuth, lowest) - lowest) * scale, 0, sectors - 1)
        sector = sector.astype(np.intp)
        if self.height is not None:
            blocks = self.is_obstacle & (self.height <= self._limits.max_obstacle_height)
        else:
            blocks = (self.is_obstacle | ~(self._usable | self._is_sky)) & known
        nearest = np.full(sectors + 2, np.inf, np.float32)
        np.minimum.at(nearest, sector[blocks] + 1, (self._before() * level)[blocks])
        # Neighbours, too: the obstacle may reach into them.
        nearest = np.minimum(np.minimum(nearest[:-2], nearest[1:-1]), nearest[2:])
        with np.errstate(divide="ignore", invalid="ignore"):  # a ray straight down
            return nearest[sector] / level
