"""The static parts of a street, and the furniture along it: trees, bushes, lamps and signs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from emu_core.drives.layout import CURB, VIEW, CentreLine, Layout, Rng, sign_of
from emu_core.drives.objects.meshes import Mesh, Pair, blob, box, disc, grid, merge, tube
from emu_core.drives.objects.shapes import WHITE, Part, Tint

SPECIES = 3  # number of textures leaves0… of a street
_SIGN_SHAPES = {"round": (20, 0.0), "square": (4, np.pi / 4), "triangle": (3, -np.pi / 2)}
"""Shape → number of corners of the plate and angle of the first one."""

SIGNS = tuple(_SIGN_SHAPES)  # shapes of traffic signs; their textures are sign_round and so on
_LIGHTS: tuple[Tint, ...] = ((0.1, 1.0, 0.35), (1.0, 0.75, 0.1), (1.0, 0.12, 0.1))
"""Colours of a traffic light from bottom to top."""

_UNLIT = 0.22  # brightness of a traffic light's lamp that is off
_ROW = 2.5  # length of the straight pieces of a ribbon, metres


@dataclass
class Scenery:
    """Static parts of a street between `start` and `end` (m), and the textures they refer to.

    `lamps` are the positions of the street lamps in the world, (3,) each, m.
    """

    rng: Rng
    path: CentreLine
    layout: Layout
    start: float
    end: float
    parts: list[Part] = field(default_factory=list)
    textures: dict[str, np.ndarray] = field(default_factory=dict)
    lamps: list[np.ndarray] = field(default_factory=list)

    def add(
        self, mesh: Mesh, texture: str, label: str, tint: Tint = WHITE, glow: float = 0.0
    ) -> None:
        """Add a shape in world coordinates."""
        self.parts.append(Part(mesh, texture, label, tint, glow))

    def ribbon(
        self,
        along: Pair,
        across: Pair,
        height: float | Pair,
        texture: str,
        label: str,
        tile: Pair = (3.0, 3.0),
    ) -> None:
        """Add a strip along the street that follows its bends; a strip without width is upright.

        Args:
            along: s of its start and end.
            across: d of its two edges.
            height: z of its edges, one for both or two.
            texture, label: as in `Part`.
            tile: metres per texture tile, across and along.
        """
        (s0, s1), (d0, d1), (z0, z1) = along, across, np.broadcast_to(height, 2)
        rows = max(int((s1 - s0) / _ROW), 1) + 1
        s = np.linspace(s0, s1, rows)[:, None]
        part = np.array([0.0, 1.0])
        points = self.path.world(s, d0 + (d1 - d0) * part, z0 + (z1 - z0) * part)
        span = np.hypot(d1 - d0, z1 - z0)
        uv = np.stack(np.broadcast_arrays(part * span / tile[0], s / tile[1]), -1)
        mesh = grid(points, uv, two_sided=d0 == d1)
        self.add(mesh if d0 == d1 else mesh.oriented_along((0, 0, 1)), texture, label)

    def gaps(self) -> list[Pair]:
        """Return the sections (s0, s1) between the junctions."""
        edges = [self.start, *chain(*self.layout.junctions), self.end]
        return list(zip(edges[::2], edges[1::2], strict=True))


def furnish(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Add lamps, signs and trees between the road and the sidewalk."""
    rng, layout, sign = street.rng, street.layout, sign_of(side)
    edge = layout.edge(side) + 0.45
    spacing = rng.uniform(18, 30)
    for s in np.arange(s0 + rng.uniform(2, spacing), s1 - 2, spacing):
        _lamp(street, s, edge * sign, sign)
    for s in np.arange(s0 + rng.uniform(3, 14), s1 - 2, rng.uniform(12, 26)):
        _sign(street, s, edge * sign, towards_ego=side == 1)
    wide = layout.verge[side] > 0 or layout.sidewalk[side] > 3
    if wide and rng.random() < 0.6:
        inset = layout.verge[side] / 2 if layout.verge[side] else 0.8
        for s in np.arange(s0 + rng.uniform(3, 9), s1 - 3, rng.uniform(7, 14)):
            tree(street, s, (layout.edge(side) + max(inset, 0.7)) * sign)


def _lamp(street: Scenery, s: float, d: float, sign: int) -> None:
    rng = street.rng
    height, reach = rng.uniform(5, 8.5), rng.uniform(0.8, 2.2)
    points = [[0, 0, -0.2], [0, 0, height * 0.9]]
    points += [[0, -0.3 * sign, height], [0, -reach * sign, height + 0.15]]
    post = tube(points, [0.11, 0.085, 0.06, 0.05], 8)
    grey = float(rng.uniform(0.3, 0.6))
    street.add(street.path.place(post, s, d), "plain", "pole", (grey, grey, grey))
    head = box((0.28, 0.7, 0.14)).moved(0, -reach * sign, height + 0.06)
    street.add(street.path.place(head, s, d), "plain", "pole", (0.9, 0.88, 0.8), glow=0.35)
    street.lamps.append(street.path.world(s, d - reach * sign, height))


def _sign(street: Scenery, s: float, d: float, towards_ego: bool) -> None:
    rng = street.rng
    height = rng.uniform(2.1, 2.9)
    post = tube([[0, 0, -0.2], [0, 0, height + 0.3]], [0.045, 0.045], 8)
    street.add(street.path.place(post, s, d), "plain", "pole", (0.5, 0.5, 0.52))
    turn, front = (-np.pi / 2, -0.07) if towards_ego else (np.pi / 2, 0.07)
    for row in range(rng.integers(1, 3)):
        shape = str(rng.choice(SIGNS))
        sides, start = _SIGN_SHAPES[shape]
        plate = disc(rng.uniform(0.36, 0.5), 0.05, sides, start).moved(yaw=turn)
        placed = plate.moved(front, 0, height - row * 0.85)
        street.add(street.path.place(placed, s, d), f"sign_{shape}", "traffic sign")


def traffic_light(street: Scenery, s: float, d: float, face: int) -> None:
    """Add a traffic light with lamps that face along the road (`face` 1) or against it (−1)."""
    rng = street.rng
    height = rng.uniform(2.6, 3.4)
    post = tube([[0, 0, -0.2], [0, 0, height + 1.0]], [0.07, 0.06], 8)
    street.add(street.path.place(post, s, d), "plain", "pole", (0.35, 0.36, 0.36))
    housing = box((0.3, 0.36, 1.02)).moved(face * 0.2, 0, height)
    street.add(street.path.place(housing, s, d), "plain", "traffic light", (0.09, 0.1, 0.09))
    lit = rng.integers(len(_LIGHTS))
    for i, (red, green, blue) in enumerate(_LIGHTS):
        lamp = disc(0.12, 0.05, 12).moved(yaw=np.pi / 2)
        placed = lamp.moved(face * 0.37, 0, height + 0.2 + 0.31 * i)
        shade, glow = (1.0, 0.9) if i == lit else (_UNLIT, 0.0)
        tint = (shade * red, shade * green, shade * blue)
        street.add(street.path.place(placed, s, d), "plain", "traffic light", tint, glow)


def tree(street: Scenery, s: float, d: float) -> None:
    """Add a tree: a trunk and a crown of three to five lumps."""
    rng = street.rng
    height, leaves = rng.uniform(4.5, 10), f"leaves{rng.integers(SPECIES)}"
    lean = rng.normal(0, 0.15, 2)
    points = [[0, 0, -0.4], [*lean, height * 0.35], [lean[0], 0, height * 0.7]]
    trunk = tube(points, np.array([0.24, 0.17, 0.08]) * height / 7, 8, 0.8)
    street.add(street.path.place(trunk, s, d, CURB), "bark", "vegetation")
    crown, wide = [], rng.uniform(0.22, 0.36) * height
    ahead = s - (street.end - VIEW)  # metres past the last camera position
    detail = 3 if ahead < 20 and abs(d) < 12 else 2 if ahead < 80 else 1
    for _ in range(rng.integers(3, 6)):
        size = wide * rng.uniform(0.55, 0.9)
        lump = blob(rng, 0.17, detail, 1.5).scaled(size, size, size * rng.uniform(0.75, 1.2))
        x, y = rng.normal(0, wide * 0.4, 2)
        crown.append(lump.moved(x, y, height * rng.uniform(0.58, 0.9)))
    street.add(street.path.place(merge(crown), s, d, CURB), leaves, "vegetation")


def bush(street: Scenery, s: float, d: float, size: float) -> None:
    """Add a round bush with a radius of about `size` metres."""
    rng = street.rng
    mesh = blob(rng, 0.15, 2, 1.0).scaled(size, size, size * rng.uniform(0.6, 1.1))
    placed = street.path.place(mesh.moved(z=size * 0.5), s, d, CURB)
    street.add(placed, f"leaves{rng.integers(SPECIES)}", "vegetation")
