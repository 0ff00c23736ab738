"""Street coordinates: the centre line of the road, and the widths of a street.

Street coordinates are s along the road, d to its left and z above it, in metres. `CentreLine`
converts them into world coordinates. Side 0 is left, side 1 is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emu_core.drives.objects.meshes import Mesh

Rng = np.random.Generator

CURB = 0.13
"""Height of the sidewalk above the road, metres."""

VIEW = 240.0
"""Length of street ahead of the last camera position, metres."""

_STEP = 0.5
"""Distance between the samples of a centre line, metres."""


def sign_of(side: int) -> int:
    """Return the sign of d on a side: +1 on the left (0), −1 on the right (1)."""
    return 1 - 2 * side


@dataclass(frozen=True)
class CentreLine:
    """Centre line of the road, sampled at `s` (N,): heading (rad) and x, y, z (m), each (N,)."""

    s: np.ndarray
    heading: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray

    def world(
        self, s: np.ndarray | float, d: np.ndarray | float, z: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Convert street coordinates, which broadcast together, to world coordinates (...,3)."""
        s, d, z = np.broadcast_arrays(np.asarray(s, float), d, z)
        heading = self.yaw(s)
        x = np.interp(s, self.s, self.x) - d * np.sin(heading)
        y = np.interp(s, self.s, self.y) + d * np.cos(heading)
        return np.stack([x, y, z + np.interp(s, self.s, self.z)], -1)

    def yaw(self, s: np.ndarray | float) -> np.ndarray:
        """Return the heading of the road at s, rad."""
        return np.interp(s, self.s, self.heading)

    def pitch(self, s: float) -> float:
        """Return the slope angle of the road at s over ±2 m, rad; positive downhill."""
        rise = np.interp(s + 2, self.s, self.z) - np.interp(s - 2, self.s, self.z)
        return float(-np.arctan(rise / 4))

    def place(self, mesh: Mesh, s: float, d: float, z: float = 0.0) -> Mesh:
        """Place a mesh on the street, its x axis along the road."""
        x, y, height = self.world(s, d, z)
        return mesh.moved(x, y, height, float(self.yaw(s)))


def draw_path(rng: Rng, start: float, end: float) -> CentreLine:
    """Draw a centre line with gentle bends and slopes; s = 0 is the origin of the world."""
    s = np.arange(start, end, _STEP)
    bend = rng.choice([0.0, 1.0], p=[0.35, 0.65]) * rng.uniform(0.001, 0.009)
    length, phase = rng.uniform(120, 320), rng.uniform(0, 2 * np.pi)
    curvature = bend * np.sin(2 * np.pi * s / length + phase)
    origin = int(np.argmin(np.abs(s)))
    heading = np.cumsum(curvature) * _STEP
    heading -= heading[origin]
    x = np.cumsum(np.cos(heading)) * _STEP
    y = np.cumsum(np.sin(heading)) * _STEP
    height, span = rng.uniform(0, 2.2), rng.uniform(160, 400)
    z = height * np.sin(2 * np.pi * s / span + rng.uniform(0, 2 * np.pi))
    return CentreLine(s, heading, x - x[origin], y - y[origin], z - z[origin])


@dataclass(frozen=True)
class Layout:
    """Widths and junctions of a street, in metres; traffic keeps right.

    `kind` is urban, suburb, park or industrial. `lanes` is the number per direction, `lane` the
    width of one. `parking`, `verge` and `sidewalk` are widths (left, right). `junctions` are the
    sections (s0, s1) without sidewalk.
    """

    kind: str
    lanes: int
    lane: float
    parking: tuple[float, float]
    verge: tuple[float, float]
    sidewalk: tuple[float, float]
    junctions: tuple[tuple[float, float], ...]
    tram: bool

    def edge(self, side: int) -> float:
        """Return the distance from the centre line to the edge of the road."""
        return self.lanes * self.lane + self.parking[side]

    def front(self, side: int) -> float:
        """Return the distance from the centre line to the far edge of the sidewalk."""
        return self.edge(side) + self.verge[side] + self.sidewalk[side]

    def at_junction(self, s: float, margin: float) -> bool:
        """Check whether s is in a junction or within `margin` metres of one."""
        return any(a - margin < s < b + margin for a, b in self.junctions)


def draw_layout(rng: Rng, end: float) -> Layout:
    """Draw the widths of a street and its junctions up to `end`."""
    kind = str(rng.choice(["urban", "suburb", "park", "industrial"], p=[0.42, 0.33, 0.13, 0.12]))
    lanes = int(rng.choice([1, 2], p=[0.6, 0.4]))
    junctions, s = [], rng.uniform(18, 60)
    while s < end - 40:
        width = rng.uniform(6, 9)
        junctions.append((s, s + width))
        s += width + rng.uniform(45, 90)

    def maybe(low: float, high: float, chance: float) -> float:
        return float(rng.uniform(low, high)) if rng.random() < chance else 0.0

    parking, verge = 0.6 if kind != "park" else 0.3, 0.3 if kind == "urban" else 0.65
    return Layout(
        kind=kind,
        lanes=lanes,
        lane=float(rng.uniform(3.1, 3.7)),
        parking=(maybe(2.1, 2.4, parking), maybe(2.1, 2.4, parking)),
        verge=(maybe(1.4, 2.4, verge), maybe(1.4, 2.4, verge)),
        sidewalk=(float(rng.uniform(1.8, 4.0)), float(rng.uniform(1.8, 4.0))),
        junctions=tuple(junctions),
        tram=bool(lanes == 2 and rng.random() < 0.4),
    )
