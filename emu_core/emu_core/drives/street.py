"""A street that stands still: the road's course, ground, houses, trees and street furniture.

Everything is placed in street coordinates (s along the road, d to its left, z above it, metres) and
carried into the world by `Path`, which bends and tilts with the road.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emu_core.drives import textures
from emu_core.drives.meshes import Mesh, blob, box, disc, grid, merge, quad, tube

Rng = np.random.Generator
CURB = 0.13
VIEW = 240.0
"""Metres of street that are built ahead of the last camera position."""


@dataclass(frozen=True)
class Part:
    """A piece of scenery: its shape in the world, surface and class."""

    mesh: Mesh
    texture: str
    label: str
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    glow: float = 0.0


class Path:
    """The road's centre line: gentle bends and grades, drawn from a seed."""

    STEP = 0.5

    def __init__(self, rng: Rng, start: float, end: float):
        self.s = np.arange(start, end, self.STEP)
        bend = rng.choice([0.0, 1.0], p=[0.35, 0.65]) * rng.uniform(0.001, 0.009)
        length, phase = rng.uniform(120, 320), rng.uniform(0, 2 * np.pi)
        curvature = bend * np.sin(2 * np.pi * self.s / length + phase)
        origin = int(np.argmin(np.abs(self.s)))
        self.heading = np.cumsum(curvature) * self.STEP
        self.heading -= self.heading[origin]
        self.x = np.cumsum(np.cos(self.heading)) * self.STEP
        self.y = np.cumsum(np.sin(self.heading)) * self.STEP
        self.x -= self.x[origin]
        self.y -= self.y[origin]
        height, span = rng.uniform(0, 2.2), rng.uniform(160, 400)
        self.z = height * np.sin(2 * np.pi * self.s / span + rng.uniform(0, 2 * np.pi))
        self.z -= self.z[origin]

    def world(self, s, d, z=0.0) -> np.ndarray:
        """World positions (...,3) of street coordinates that broadcast together."""
        s, d, z = np.broadcast_arrays(np.asarray(s, float), d, z)
        heading = self.yaw(s)
        x = np.interp(s, self.s, self.x) - d * np.sin(heading)
        y = np.interp(s, self.s, self.y) + d * np.cos(heading)
        return np.stack([x, y, z + np.interp(s, self.s, self.z)], -1)

    def yaw(self, s):
        """Heading of the road at s, rad."""
        return np.interp(s, self.s, self.heading)

    def pitch(self, s):
        """Grade angle of the road at s, rad; positive downhill."""
        return -np.arctan(
            (np.interp(s + 2, self.s, self.z) - np.interp(s - 2, self.s, self.z)) / 4
        )

    def place(self, mesh: Mesh, s: float, d: float, z: float = 0.0, yaw: float = 0.0) -> Mesh:
        """A mesh set onto the street, its x axis along the road plus `yaw`."""
        x, y, height = self.world(s, d, z)
        return mesh.moved(x, y, height, float(self.yaw(s)) + yaw)


@dataclass(frozen=True)
class Layout:
    """What a street is like, in metres; left is positive d, traffic keeps right."""

    kind: str
    lanes: int
    lane: float
    parking: tuple[float, float]
    verge: tuple[float, float]
    sidewalk: tuple[float, float]
    junctions: tuple[tuple[float, float], ...]
    tram: bool

    def edge(self, side: int) -> float:
        """Half width of the road on a side (0 left, 1 right)."""
        return self.lanes * self.lane + self.parking[side]

    def front(self, side: int) -> float:
        """Distance of the sidewalk's far edge from the centre line."""
        return self.edge(side) + self.verge[side] + self.sidewalk[side]


def draw_layout(rng: Rng, end: float) -> Layout:
    """Draw a street's cross-section and its junctions up to `end`."""
    kind = str(rng.choice(["urban", "suburb", "park", "industrial"], p=[0.42, 0.33, 0.13, 0.12]))
    lanes = int(rng.choice([1, 2], p=[0.6, 0.4]))
    junctions, s = [], rng.uniform(18, 60)
    while s < end - 40:
        width = rng.uniform(6, 9)
        junctions.append((s, s + width))
        s += width + rng.uniform(45, 90)
    pair = lambda low, high, chance: tuple(  # noqa: E731
        float(rng.uniform(low, high)) if rng.random() < chance else 0.0 for _ in range(2)
    )
    return Layout(
        kind=kind,
        lanes=lanes,
        lane=float(rng.uniform(3.1, 3.7)),
        parking=pair(2.1, 2.4, 0.6 if kind != "park" else 0.3),
        verge=pair(1.4, 2.4, {"urban": 0.3}.get(kind, 0.65)),
        sidewalk=(float(rng.uniform(1.8, 4.0)), float(rng.uniform(1.8, 4.0))),
        junctions=tuple(junctions),
        tram=bool(lanes == 2 and rng.random() < 0.4),
    )


@dataclass
class Scenery:
    """Collects the parts of a street and the textures that they name."""

    rng: Rng
    path: Path
    layout: Layout
    start: float
    end: float
    parts: list[Part] = field(default_factory=list)
    textures: dict[str, np.ndarray] = field(default_factory=dict)
    lamps: list[np.ndarray] = field(default_factory=list)

    def add(self, mesh: Mesh, texture: str, label: str, tint=(1.0, 1.0, 1.0), glow=0.0) -> None:
        self.parts.append(Part(mesh, texture, label, tint, glow))

    def ribbon(self, s0, s1, d0, d1, z0, z1, texture, label, tile=(3.0, 3.0)) -> None:
        """A strip along the street from d0 to d1, bent with the road; upright where d0 = d1."""
        rows = max(int((s1 - s0) / 2.5), 1) + 1
        s = np.linspace(s0, s1, rows)[:, None]
        across = np.array([0.0, 1.0])[None]
        points = self.path.world(s, d0 + (d1 - d0) * across, z0 + (z1 - z0) * across)
        span = np.hypot(d1 - d0, z1 - z0)
        uv = np.stack(np.broadcast_arrays(across * span / tile[0], s / tile[1]), -1)
        mesh = grid(points, uv, two_sided=d0 == d1)
        if d0 != d1 and mesh.normals[:, 2].mean() < 0:
            mesh = Mesh(mesh.vertices, -mesh.normals, mesh.uvs, mesh.faces[:, ::-1])
        self.add(mesh, texture, label)

    def gaps(self) -> list[tuple[float, float]]:
        """Stretches of the street between its junctions."""
        edges = [
            self.start,
            *[e for junction in self.layout.junctions for e in junction],
            self.end,
        ]
        return list(zip(edges[::2], edges[1::2], strict=True))


def build(rng: Rng, layout: Layout, path: Path, start: float, end: float) -> Scenery:
    """Build everything that stands still between `start` and `end`."""
    street = Scenery(rng, path, layout, start, end)
    _paint_common(street)
    _road(street)
    for side in (0, 1):
        for s0, s1 in street.gaps():
            _walkway(street, side, s0, s1)
            _frontage(street, side, s0, s1)
            _furniture(street, side, s0, s1)
        for s0, s1 in layout.junctions:
            _side_street(street, side, s0, s1)
    for s0, s1 in layout.junctions:
        _crossing(street, s0, s1)
    _closing(street)
    return street


def _paint_common(street: Scenery) -> None:
    rng, t = street.rng, street.textures
    painters = {
        "pavers": textures.pavers, "ground": textures.ground, "concrete": textures.concrete,
        "bark": textures.bark, "tiles": textures.tiles, "asphalt": textures.asphalt,
        "zebra": textures.zebra, "wall0": lambda r: textures.masonry(r, 256, 6),
        "wall1": textures.concrete, "wall2": lambda r: textures.masonry(r, 256, 12),
    }  # fmt: skip
    for name, painter in painters.items():
        t[name] = painter(rng)
    for i in range(3):
        t[f"leaves{i}"] = textures.foliage(rng)
        t[f"fence{i}"] = textures.boards(rng)
    for i in range(5):
        t[f"facade{i}"] = textures.facade(rng)
        t[f"shop{i % 2}"] = textures.shopfront(rng)
    for shape in ("round", "square", "triangle"):
        t[f"sign_{shape}"] = textures.sign(rng, shape)
    t["plain"] = np.full((16, 16, 3), 235, np.uint8)


def _road(street: Scenery) -> None:
    layout = street.layout
    left, right = layout.edge(0), layout.edge(1)
    width, length = left + right, 24.0
    lines = [(left, "solid" if layout.lanes == 2 or street.rng.random() < 0.3 else "dashed")]
    for lane in range(1, layout.lanes):
        lines += [(left + side * lane * layout.lane, "dashed") for side in (-1, 1)]
    for side, sign in ((0, -1), (1, 1)):
        if layout.parking[side]:
            lines.append((left + sign * layout.lanes * layout.lane, "solid"))
    if layout.tram:
        centre = left - 0.5 * layout.lane
        lines += [(centre + gauge, "rail") for gauge in (-0.72, 0.72)]
    street.textures["road"] = textures.road(street.rng, width, lines, length)
    street.ribbon(street.start, street.end, left, -right, 0, 0, "road", "road", (width, length))


def _walkway(street: Scenery, side: int, s0: float, s1: float) -> None:
    layout, sign = street.layout, 1 - 2 * side
    edge, front = layout.edge(side) * sign, layout.front(side) * sign
    kerb = edge + 0.15 * sign
    street.ribbon(s0, s1, edge, edge, 0, CURB, "concrete", "sidewalk")
    street.ribbon(s0, s1, edge, kerb, CURB, CURB, "concrete", "sidewalk")
    inner = kerb
    if layout.verge[side]:
        inner = edge + layout.verge[side] * sign
        street.ribbon(s0, s1, kerb, inner, CURB, CURB, "ground", "terrain")
    street.ribbon(s0, s1, inner, front, CURB, CURB, "pavers", "sidewalk", (2.4, 2.4))
    street.ribbon(s0, s1, front, 110 * sign, CURB - 0.02, CURB - 0.02, "ground", "terrain")


def _frontage(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Fill one side between two junctions with plots."""
    rng, layout = street.rng, street.layout
    s = s0 + (2.0 if s0 > street.start else 0.0)
    while s < s1 - 6:
        kinds = {
            "urban": ("house", "house", "house", "house", "yard"),
            "suburb": ("garden", "garden", "garden", "house", "green"),
            "park": ("green", "green", "green", "house", "yard"),
            "industrial": ("hall", "yard", "hall", "green"),
        }[layout.kind]
        kind = kinds[rng.integers(len(kinds))]
        length = rng.uniform(10, 24) if kind != "garden" else rng.uniform(12, 18)
        length = min(length, s1 - s - (2.0 if s1 < street.end else 0.0))
        if length < 5:
            break
        {"house": _house, "hall": _hall, "garden": _garden, "green": _green, "yard": _yard}[kind](
            street, side, s, s + length
        )
        s += length + (rng.uniform(0, 3) if kind == "house" and rng.random() < 0.15 else 0)


def _house(street: Scenery, side: int, s0: float, s1: float) -> None:
    d = street.layout.front(side)
    height = street.rng.uniform(7, 24)
    _building(street, side, s0, s1, d, street.rng.uniform(10, 16), height, gable=height < 14)


def _hall(street: Scenery, side: int, s0: float, s1: float) -> None:
    d = street.layout.front(side) + street.rng.uniform(0, 6)
    height = street.rng.uniform(5, 10)
    _building(street, side, s0, s1, d, street.rng.uniform(15, 30), height, gable=False)


def _garden(street: Scenery, side: int, s0: float, s1: float) -> None:
    rng, front = street.rng, street.layout.front(side)
    _boundary(street, side, s0, s1, front)
    setback = rng.uniform(4, 9)
    _building(
        street, side, s0 + rng.uniform(1, 2.5), s1 - rng.uniform(1, 2.5), front + setback,
        rng.uniform(8, 12), rng.uniform(5, 8.5), gable=True,
    )  # fmt: skip
    for _ in range(rng.integers(1, 5)):
        s, d = rng.uniform(s0, s1), front + rng.uniform(1.2, setback - 0.8)
        _bush(street, s, d * (1 - 2 * side), rng.uniform(0.4, 1.1))
    if rng.random() < 0.5:
        _tree(street, s0, (front + setback - 1) * (1 - 2 * side))


def _green(street: Scenery, side: int, s0: float, s1: float) -> None:
    rng, front, sign = street.rng, street.layout.front(side), 1 - 2 * side
    if rng.random() < 0.7:
        _boundary(street, side, s0, s1, front)
    for _ in range(rng.integers(3, 8)):
        _tree(street, rng.uniform(s0, s1), sign * (front + rng.uniform(2, 28)))
    for _ in range(rng.integers(2, 6)):
        _bush(street, rng.uniform(s0, s1), sign * (front + rng.uniform(1.5, 15)), 1.0)


def _yard(street: Scenery, side: int, s0: float, s1: float) -> None:
    rng, front, sign = street.rng, street.layout.front(side), 1 - 2 * side
    _boundary(street, side, s0, s1, front, tall=True)
    if rng.random() < 0.6:
        _building(street, side, s0, s1, front + rng.uniform(8, 16), 12, rng.uniform(6, 18), False)
    for _ in range(rng.integers(0, 4)):
        _tree(street, rng.uniform(s0, s1), sign * (front + rng.uniform(2, 7)))


def _boundary(street: Scenery, side: int, s0: float, s1: float, d: float, tall=False) -> None:
    """A wall, a fence or a hedge along the sidewalk."""
    rng, sign = street.rng, 1 - 2 * side
    kind = rng.choice(["wall", "fence", "hedge"], p=[0.4, 0.42, 0.18])
    height = rng.uniform(1.6, 2.6) if tall else rng.uniform(0.8, 1.7)
    thick = {"wall": 0.25, "fence": 0.06, "hedge": rng.uniform(0.6, 1.0)}[kind]
    texture = {"wall": f"wall{rng.integers(3)}", "fence": f"fence{rng.integers(3)}",
               "hedge": f"leaves{rng.integers(3)}"}[kind]  # fmt: skip
    label = "vegetation" if kind == "hedge" else str(kind)
    tile = {"wall": (2.0, 2.0), "fence": (2.0, height), "hedge": (1.6, 1.6)}[kind]
    count = max(int((s1 - s0) / 4), 1)
    edges = np.linspace(s0 + 0.2, s1 - 0.2, count + 1)
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        _block(street, sign, a, b, d + 0.1, d + 0.1 + thick, height, texture, label, tile)


def _block(street, sign, s0, s1, d0, d1, height, texture, label, tile) -> None:
    """A cuboid on the street: upright faces textured in metres / tile, and its top."""
    z = float(street.path.world((s0 + s1) / 2, 0)[2])
    corners = street.path.world([s0, s1, s1, s0], np.array([d0, d0, d1, d1]) * sign)
    corners[:, 2] = z - 0.6
    if sign > 0:
        order = [0, 1, 2, 3]
    else:
        order = [3, 2, 1, 0]
    corners = corners[order]
    top = corners + (0, 0, height + 0.6 + CURB)
    for i in range(4):
        a, b = corners[i], corners[(i + 1) % 4]
        length = np.linalg.norm(b - a)
        face = quad(
            np.array([a, b, top[(i + 1) % 4], top[i]]),
            (length / tile[0], (height + 0.6) / tile[1]),
        )
        street.add(face, texture, label)
    street.add(quad(top, ((s1 - s0) / tile[0], (d1 - d0) / tile[0])), texture, label)


def _building(street, side, s0, s1, d, depth, height, gable) -> None:
    """A house: four fronts, shop floor or balconies at times, and a roof."""
    rng, sign = street.rng, 1 - 2 * side
    if s1 - s0 < 3:
        return
    texture = f"facade{rng.integers(5)}"
    tint = tuple(float(t) for t in np.clip(rng.normal(1, 0.09, 3) * rng.normal(0.95, 0.1), 0.6, 1))
    floor = rng.uniform(2.8, 3.4)
    base = float(street.path.world((s0 + s1) / 2, 0)[2]) + CURB
    low = street.path.world([s0, s1, s1, s0], np.array([d, d, d + depth, d + depth]) * sign)
    low[:, 2] = base
    low = low if sign > 0 else low[::-1]
    up = np.array([0, 0, 1.0])
    shop = 0.0
    if street.layout.kind == "urban" and rng.random() < 0.5:
        shop = 4.0
    bays = rng.uniform(2.4, 3.4) * 4
    for i in range(4):
        a, b = low[i], low[(i + 1) % 4]
        length = float(np.linalg.norm(b - a))
        foot = quad(np.array([a - up * 2, b - up * 2, b, a]), (length / 3, 1))
        street.add(foot, "concrete", "building", tint)
        if shop:
            front = quad(np.array([a, b, b + up * shop, a + up * shop]), (length / 12, 1))
            street.add(front, f"shop{rng.integers(2)}", "building")
        rise = height - shop
        face = np.array([a, b, b, a]) + up * np.array([shop, shop, height, height])[:, None]
        tiles = (max(round(length / bays * 4), 1) / 4, max(round(rise / floor), 1) / 4)
        street.add(quad(face, tiles), texture, "building", tint)
    top = low + up * height
    if gable:
        _gable(street, top, rng.uniform(1.8, 3.8))
    else:
        street.add(quad(top, (2, 2)), "concrete", "building")
        _cornice(street, top)
    if height > 9 and rng.random() < 0.4:
        _balconies(street, sign, s0, s1, d, base, floor, int((height - shop) / floor), shop)


def _gable(street: Scenery, top: np.ndarray, rise: float) -> None:
    middle = [(top[0] + top[3]) / 2, (top[1] + top[2]) / 2]
    ridge = [m + (0, 0, rise) for m in middle]
    drop = np.array([0, 0, -0.25])
    for a, b, r0, r1 in ((top[0], top[1], ridge[1], ridge[0]), (top[2], top[3], *ridge)):
        inward = (r0 + r1) / 2 - (a + b) / 2
        out = -0.5 * np.array([inward[0], inward[1], 0]) / (np.hypot(*inward[:2]) + 1e-6)
        roof = np.array([a + out + drop, b + out + drop, r0, r1])
        street.add(quad(roof, (4, 2), two_sided=True), "tiles", "building")
    for a, b, r in ((top[1], top[2], ridge[1]), (top[3], top[0], ridge[0])):
        street.add(quad(np.array([a, b, r, r]), (2, 1)), "concrete", "building")


def _cornice(street: Scenery, top: np.ndarray) -> None:
    centre = top.mean(axis=0)
    flat = (top - centre) * (1, 1, 0)
    out = flat + 0.35 * flat / np.linalg.norm(flat, axis=1, keepdims=True)
    for i in range(4):
        j = (i + 1) % 4
        a, b = centre + out[i], centre + out[j]
        face = [a - (0, 0, 0.5), b - (0, 0, 0.5), b + (0, 0, 0.4), a + (0, 0, 0.4)]
        street.add(quad(np.array(face), (4, 0.5), two_sided=True), "concrete", "building")


def _balconies(street, sign, s0, s1, d, base, floor, floors, shop) -> None:
    count = max(int((s1 - s0) / 6), 1)
    for column in range(count):
        s = s0 + (column + 0.5) * (s1 - s0) / count
        for level in range(1 if not shop else 0, floors):
            slab = box((2.6, 1.1, 1.0), 2.5)
            x, y, _ = street.path.world(s, (d - 0.45) * sign)
            z = base + shop + level * floor - 0.15
            moved = slab.moved(x, y, z, float(street.path.yaw(s)))
            street.add(moved, "concrete", "building", (0.85, 0.85, 0.85))


def _tree(street: Scenery, s: float, d: float) -> None:
    rng = street.rng
    height, leaves = rng.uniform(4.5, 10), f"leaves{rng.integers(3)}"
    lean = rng.normal(0, 0.15, 2)
    trunk = tube(
        np.array([[0, 0, -0.4], [lean[0], lean[1], height * 0.35], [lean[0], 0, height * 0.7]]),
        np.array([0.24, 0.17, 0.08]) * height / 7,
        8,
        0.8,
    )
    street.add(street.path.place(trunk, s, d, CURB), "bark", "vegetation")
    crown, wide = [], rng.uniform(0.22, 0.36) * height
    ahead = s - (street.end - VIEW)
    detail = 3 if ahead < 20 and abs(d) < 12 else 2 if ahead < 80 else 1
    for _ in range(rng.integers(3, 6)):
        size = wide * rng.uniform(0.55, 0.9)
        lump = blob(rng, 0.17, detail, 1.5).scaled(size, size, size * rng.uniform(0.75, 1.2))
        x, y = rng.normal(0, wide * 0.4, 2)
        crown.append(lump.moved(x, y, height * rng.uniform(0.58, 0.9)))
    street.add(street.path.place(merge(crown), s, d, CURB), leaves, "vegetation")


def _bush(street: Scenery, s: float, d: float, size: float) -> None:
    rng = street.rng
    mesh = blob(rng, 0.15, 2, 1.0).scaled(size, size, size * rng.uniform(0.6, 1.1))
    placed = street.path.place(mesh.moved(z=size * 0.5), s, d, CURB)
    street.add(placed, f"leaves{rng.integers(3)}", "vegetation")


def _furniture(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Lamps, signs and street trees between the road and the sidewalk."""
    rng, layout, sign = street.rng, street.layout, 1 - 2 * side
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
            _tree(street, s, (layout.edge(side) + max(inset, 0.7)) * sign)


def _lamp(street: Scenery, s: float, d: float, sign: int) -> None:
    rng = street.rng
    height, reach = rng.uniform(5, 8.5), rng.uniform(0.8, 2.2)
    points = [[0, 0, -0.2], [0, 0, height * 0.9], [0, -0.3 * sign, height],
              [0, -reach * sign, height + 0.15]]  # fmt: skip
    post = tube(np.array(points), [0.11, 0.085, 0.06, 0.05], 8)
    grey = float(rng.uniform(0.3, 0.6))
    street.add(street.path.place(post, s, d), "plain", "pole", (grey, grey, grey))
    head = box((0.28, 0.7, 0.14)).moved(0, -reach * sign, height + 0.06)
    street.add(street.path.place(head, s, d), "plain", "pole", (0.9, 0.88, 0.8), 0.35)
    street.lamps.append(street.path.world(s, d - reach * sign, height))


def _sign(street: Scenery, s: float, d: float, towards_ego: bool) -> None:
    rng = street.rng
    height = rng.uniform(2.1, 2.9)
    post = tube(np.array([[0, 0, -0.2], [0, 0, height + 0.3]]), [0.045, 0.045], 8)
    street.add(street.path.place(post, s, d), "plain", "pole", (0.5, 0.5, 0.52))
    turn = -np.pi / 2 if towards_ego else np.pi / 2
    front = -0.07 if towards_ego else 0.07
    for row in range(rng.integers(1, 3)):
        shape = str(rng.choice(["round", "square", "triangle"]))
        sides, start = {"round": (20, 0), "square": (4, np.pi / 4), "triangle": (3, -np.pi / 2)}[
            shape
        ]
        plate = disc(rng.uniform(0.36, 0.5), 0.05, sides, start).moved(yaw=turn)
        placed = plate.moved(front, 0, height - row * 0.85)
        street.add(street.path.place(placed, s, d), f"sign_{shape}", "traffic sign")


def _side_street(street: Scenery, side: int, s0: float, s1: float) -> None:
    sign, layout, rng = 1 - 2 * side, street.layout, street.rng
    edge, front = layout.edge(side), layout.front(side)
    street.ribbon(s0, s1, edge * sign, 110 * sign, 0, 0, "asphalt", "road", (6, 6))
    for a, b in ((s0 - 2, s0), (s1, s1 + 2)):
        street.ribbon(a, b, front * sign, 70 * sign, CURB, CURB, "pavers", "sidewalk", (2.4, 2.4))
    far = rng.uniform(50, 85)
    _building(street, side, s0 - 14, s1 + 14, far, 12, rng.uniform(7, 18), rng.random() < 0.5)


def _crossing(street: Scenery, s0: float, s1: float) -> None:
    """Zebra stripes and traffic lights at a junction."""
    rng, layout = street.rng, street.layout
    left, right = layout.edge(0), layout.edge(1)
    for s in (s0 - 4.5, s1 + 1.5):
        if rng.random() < 0.75:
            street.ribbon(s, s + 3, left, -right, 0.012, 0.012, "zebra", "road", (10.0, 3.0))
    if rng.random() < 0.8:
        for s, d, face in ((s0 - 1.2, -right - 0.5, -1), (s1 + 1.0, left + 0.5, 1),
                           (s1 + 0.8, -right - 0.5, -1), (s0 - 1.0, left + 0.5, -1)):  # fmt: skip
            _traffic_light(street, s, d, face)


def _traffic_light(street: Scenery, s: float, d: float, face: int) -> None:
    rng = street.rng
    height = rng.uniform(2.6, 3.4)
    post = tube(np.array([[0, 0, -0.2], [0, 0, height + 1.0]]), [0.07, 0.06], 8)
    street.add(street.path.place(post, s, d), "plain", "pole", (0.35, 0.36, 0.36))
    housing = box((0.3, 0.36, 1.02)).moved(face * 0.2, 0, height)
    street.add(street.path.place(housing, s, d), "plain", "traffic light", (0.09, 0.1, 0.09))
    lit = rng.integers(3)
    for i, color in enumerate(((0.1, 1.0, 0.35), (1.0, 0.75, 0.1), (1.0, 0.12, 0.1))):
        lamp = disc(0.12, 0.05, 12).moved(yaw=np.pi / 2)
        placed = lamp.moved(face * 0.37, 0, height + 0.2 + 0.31 * i)
        shade = color if i == lit else tuple(0.22 * c for c in color)
        glow = 0.9 if i == lit else 0.0
        street.add(street.path.place(placed, s, d), "plain", "traffic light", shade, glow)


def _closing(street: Scenery) -> None:
    """What closes the view at the end of the street: a house across it, and trees."""
    s, rng = street.end - 8, street.rng
    for d in np.arange(-70, 70, 18):
        low = street.path.world(s, np.array([d + 18, d]))
        height = rng.uniform(9, 20)
        face = np.array([low[0], low[1], low[1] + (0, 0, height), low[0] + (0, 0, height)])
        street.add(quad(face, (1.5, height / 12)), f"facade{rng.integers(5)}", "building")
    for d in rng.uniform(-50, 50, 8):
        _tree(street, s - 6, d)
