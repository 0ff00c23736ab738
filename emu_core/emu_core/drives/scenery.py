"""Collects what stands still in a street: parts, textures and lamps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emu_core.drives.layout import Layout, Path, Rng
from emu_core.drives.meshes import Mesh, grid
from emu_core.drives.part import WHITE, Part, Tint

_ROW = 2.5
"""Length of a ribbon's straight pieces, metres."""


@dataclass
class Scenery:
    """The parts of a street between `start` and `end` (m) and the textures that they name.

    `lamps` are the positions of the street lamps in the world, (3,) each, m.
    """

    rng: Rng
    path: Path
    layout: Layout
    start: float
    end: float
    parts: list[Part] = field(default_factory=list)
    textures: dict[str, np.ndarray] = field(default_factory=dict)
    lamps: list[np.ndarray] = field(default_factory=list)

    def add(
        self, mesh: Mesh, texture: str, label: str, tint: Tint = WHITE, glow: float = 0.0
    ) -> None:
        """Add a shape that is already in the world."""
        self.parts.append(Part(mesh, texture, label, tint, glow))

    def place(
        self, mesh: Mesh, at: tuple[float, float, float], texture: str, label: str,
        tint: Tint = WHITE, glow: float = 0.0,
    ) -> None:  # fmt: skip
        """Add a shape in its own frame at street coordinates (s, d, z)."""
        self.add(self.path.place(mesh, *at), texture, label, tint, glow)

    def ribbon(
        self,
        along: tuple[float, float],
        across: tuple[float, float],
        height: tuple[float, float],
        texture: str,
        label: str,
        tile: tuple[float, float] = (3.0, 3.0),
    ) -> None:
        """Add a strip along the street, bent with the road; upright where it has no width.

        Args:
            along: s from, to.
            across: d of its two edges.
            height: z of its two edges.
            tile: metres per texture tile, across and along.
        """
        (s0, s1), (d0, d1), (z0, z1) = along, across, height
        rows = max(int((s1 - s0) / _ROW), 1) + 1
        s = np.linspace(s0, s1, rows)[:, None]
        part = np.array([0.0, 1.0])[None]
        points = self.path.world(s, d0 + (d1 - d0) * part, z0 + (z1 - z0) * part)
        span = np.hypot(d1 - d0, z1 - z0)
        uv = np.stack(np.broadcast_arrays(part * span / tile[0], s / tile[1]), -1)
        mesh = grid(points, uv, two_sided=d0 == d1)
        if d0 != d1 and mesh.normals[:, 2].mean() < 0:
            mesh = mesh.flipped()
        self.add(mesh, texture, label)

    def gaps(self) -> list[tuple[float, float]]:
        """Stretches of the street between its junctions."""
        junctions = [s for junction in self.layout.junctions for s in junction]
        edges = [self.start, *junctions, self.end]
        return list(zip(edges[::2], edges[1::2], strict=True))
