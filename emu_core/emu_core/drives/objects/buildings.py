"""Plots of land behind the sidewalks, and the buildings, walls and plants on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from emu_core.drives.layout import CURB, sign_of
from emu_core.drives.objects.meshes import Pair, box, quad, upright
from emu_core.drives.objects.scenery import SPECIES, Scenery, bush, tree
from emu_core.drives.objects.shapes import Tint

WALLS, FENCES = 3, 3  # number of textures wall0… and fence0… of a street
FACADES, SHOPS = 5, 2  # number of textures facade0… and shop0… of a street
SHOP_FLOOR = 4.0  # height of a ground floor with shops, metres; its texture is 12 m long
_TEXTURE_CELLS = 4  # number of bays and of floors in a facade texture

_CORNER = 2.0  # width of the sidewalk around the corner of a junction, metres
_FOUNDATION = 0.6  # depth of walls, fences and hedges below the street (it may slope), metres


@dataclass(frozen=True)
class Plot:
    """Land next to the street: s0…s1 along a side, from d metres off the centre line outwards."""

    side: int
    s0: float
    s1: float
    d: float

    def corners(self, street: Scenery, depth: float) -> np.ndarray:
        """Return the corners in the world (4,3), counter-clockwise from above, `depth` m deep."""
        far = self.d + depth
        across = np.array([self.d, self.d, far, far]) * sign_of(self.side)
        low = street.path.world(np.array([self.s0, self.s1, self.s1, self.s0]), across)
        return low if self.side == 0 else low[::-1]


def line_with_plots(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Fill one side of the street between two junctions with plots."""
    rng, layout = street.rng, street.layout
    builders = _MIX[layout.kind]
    s = s0 + (_CORNER if s0 > street.start else 0.0)
    while s < s1 - 6:
        build = builders[rng.integers(len(builders))]
        length = rng.uniform(12, 18) if build is _garden else rng.uniform(10, 24)
        length = min(length, s1 - s - (_CORNER if s1 < street.end else 0.0))
        if length < 5:
            break
        build(street, Plot(side, s, s + length, layout.front(side)))
        s += length + (rng.uniform(0, 3) if build is _house and rng.random() < 0.15 else 0)


def _house(street: Scenery, plot: Plot) -> None:
    height = street.rng.uniform(7, 24)
    building(street, plot, street.rng.uniform(10, 16), height, gable=height < 14)


def _hall(street: Scenery, plot: Plot) -> None:
    setback = Plot(plot.side, plot.s0, plot.s1, plot.d + street.rng.uniform(0, 6))
    height = street.rng.uniform(5, 10)
    building(street, setback, street.rng.uniform(15, 30), height, gable=False)


def _garden(street: Scenery, plot: Plot) -> None:
    """Build a detached house behind a boundary, with bushes and perhaps a tree."""
    rng, sign = street.rng, sign_of(plot.side)
    boundary(street, plot)
    setback = rng.uniform(4, 9)
    s0, s1 = plot.s0 + rng.uniform(1, 2.5), plot.s1 - rng.uniform(1, 2.5)
    lot = Plot(plot.side, s0, s1, plot.d + setback)
    building(street, lot, rng.uniform(8, 12), rng.uniform(5, 8.5), gable=True)
    for _ in range(rng.integers(1, 5)):
        s, d = rng.uniform(plot.s0, plot.s1), plot.d + rng.uniform(1.2, setback - 0.8)
        bush(street, s, d * sign, rng.uniform(0.4, 1.1))
    if rng.random() < 0.5:
        tree(street, plot.s0, (plot.d + setback - 1) * sign)


def _green(street: Scenery, plot: Plot) -> None:
    rng, sign = street.rng, sign_of(plot.side)
    if rng.random() < 0.7:
        boundary(street, plot)
    for _ in range(rng.integers(3, 8)):
        tree(street, rng.uniform(plot.s0, plot.s1), sign * (plot.d + rng.uniform(2, 28)))
    for _ in range(rng.integers(2, 6)):
        bush(street, rng.uniform(plot.s0, plot.s1), sign * (plot.d + rng.uniform(1.5, 15)), 1.0)


def _yard(street: Scenery, plot: Plot) -> None:
    rng, sign = street.rng, sign_of(plot.side)
    boundary(street, plot, tall=True)
    if rng.random() < 0.6:
        lot = Plot(plot.side, plot.s0, plot.s1, plot.d + rng.uniform(8, 16))
        building(street, lot, 12, rng.uniform(6, 18), gable=False)
    for _ in range(rng.integers(0, 4)):
        tree(street, rng.uniform(plot.s0, plot.s1), sign * (plot.d + rng.uniform(2, 7)))


_MIX: dict[str, tuple[Callable[[Scenery, Plot], None], ...]] = {
    "urban": (_house, _house, _house, _house, _yard),
    "suburb": (_garden, _garden, _garden, _house, _green),
    "park": (_green, _green, _green, _house, _yard),
    "industrial": (_hall, _yard, _hall, _green),
}
"""Kind of street → builders of its plots, each equally likely."""


def boundary(street: Scenery, plot: Plot, tall: bool = False) -> None:
    """Build a wall, a fence or a hedge along the sidewalk."""
    rng = street.rng
    kind = str(rng.choice(["wall", "fence", "hedge"], p=[0.4, 0.42, 0.18]))
    height = rng.uniform(1.6, 2.6) if tall else rng.uniform(0.8, 1.7)
    hedge = rng.uniform(0.6, 1.0)
    label, texture, thick, tile = {  # each kind takes the same number of random numbers
        "wall": ("wall", f"wall{rng.integers(WALLS)}", 0.25, (2.0, 2.0)),
        "fence": ("fence", f"fence{rng.integers(FENCES)}", 0.06, (2.0, height)),
        "hedge": ("vegetation", f"leaves{rng.integers(SPECIES)}", hedge, (1.6, 1.6)),
    }[kind]
    count = max(int((plot.s1 - plot.s0) / 4), 1)
    for s0, s1 in pairwise(np.linspace(plot.s0 + 0.2, plot.s1 - 0.2, count + 1)):
        corners = Plot(plot.side, s0, s1, plot.d + 0.1).corners(street, thick)
        corners[:, 2] = float(street.path.world((s0 + s1) / 2, 0)[2]) - _FOUNDATION
        top = height + _FOUNDATION + CURB
        for a, b in _sides(corners):
            length = float(np.linalg.norm(b - a))
            tiles = (length / tile[0], (height + _FOUNDATION) / tile[1])
            street.add(upright((a, b), (0, top), tiles), texture, label)
        tiles = ((s1 - s0) / tile[0], thick / tile[0])
        street.add(quad(corners + (0, 0, top), tiles), texture, label)


def building(street: Scenery, plot: Plot, depth: float, height: float, gable: bool) -> None:
    """Build four walls with a gable roof or a flat roof, sometimes with shops or balconies."""
    rng = street.rng
    if plot.s1 - plot.s0 < 3:
        return
    texture = f"facade{rng.integers(FACADES)}"
    shade = np.clip(rng.normal(1, 0.09, 3) * rng.normal(0.95, 0.1), 0.6, 1)
    tint: Tint = (float(shade[0]), float(shade[1]), float(shade[2]))
    floor = rng.uniform(2.8, 3.4)
    base = float(street.path.world((plot.s0 + plot.s1) / 2, 0)[2]) + CURB
    low = plot.corners(street, depth)
    low[:, 2] = base
    shop = SHOP_FLOOR if street.layout.kind == "urban" and rng.random() < 0.5 else 0.0
    bays = rng.uniform(2.4, 3.4) * _TEXTURE_CELLS
    for wall in _sides(low):
        _front(street, wall, (shop, height), (bays, floor), texture, tint)
    top = low + (0, 0, height)
    if gable:
        _gable(street, top, rng.uniform(1.8, 3.8))
    else:
        street.add(quad(top, (2, 2)), "concrete", "building")
        _cornice(street, top)
    if height > 9 and rng.random() < 0.4:
        levels = range(1 if not shop else 0, int((height - shop) / floor))
        _balconies(street, plot, base + shop, floor, levels)


def _sides(corners: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Return the two ends (3,) of each side of a polygon (N,3)."""
    return zip(corners, np.roll(corners, -1, axis=0), strict=True)


def _front(
    street: Scenery,
    wall: tuple[np.ndarray, np.ndarray],
    storeys: Pair,
    grid: Pair,
    texture: str,
    tint: Tint,
) -> None:
    """Add one wall: foundation, perhaps a shop floor, and the storeys above it.

    `wall` is its two lower corners in the world (3,), m. `storeys` are the heights at which they
    begin and end, m. `grid` is the length of the texture and the height of a floor, m.
    """
    (shop, height), (bays, floor) = storeys, grid
    length = float(np.linalg.norm(wall[1] - wall[0]))
    street.add(upright(wall, (-2, 0), (length / 3, 1)), "concrete", "building", tint)
    if shop:
        face = upright(wall, (0, shop), (length / 12, 1))
        street.add(face, f"shop{street.rng.integers(SHOPS)}", "building")
    cells = (length / bays * _TEXTURE_CELLS, (height - shop) / floor)
    u, v = (max(round(count), 1) / _TEXTURE_CELLS for count in cells)
    street.add(upright(wall, storeys, (u, v)), texture, "building", tint)


def _gable(street: Scenery, top: np.ndarray, rise: float) -> None:
    middle = [(top[0] + top[3]) / 2, (top[1] + top[2]) / 2]
    ridge = [m + (0, 0, rise) for m in middle]
    drop = np.array([0, 0, -0.25])
    for a, b, r0, r1 in ((top[0], top[1], ridge[1], ridge[0]), (top[2], top[3], *ridge)):
        inward = (r0 + r1) / 2 - (a + b) / 2
        out = -0.5 * np.array([inward[0], inward[1], 0]) / (np.hypot(*inward[:2]) + 1e-6)
        roof = quad([a + out + drop, b + out + drop, r0, r1], (4, 2), two_sided=True)
        street.add(roof, "tiles", "building")
    for a, b, r in ((top[1], top[2], ridge[1]), (top[3], top[0], ridge[0])):
        street.add(quad([a, b, r, r], (2, 1)), "concrete", "building")


def _cornice(street: Scenery, top: np.ndarray) -> None:
    centre = top.mean(axis=0)
    flat = (top - centre) * (1, 1, 0)
    out = flat + 0.35 * flat / np.linalg.norm(flat, axis=1, keepdims=True)
    for side in _sides(centre + out):
        face = upright(side, (-0.5, 0.4), (4, 0.5), two_sided=True)
        street.add(face, "concrete", "building")


def _balconies(street: Scenery, plot: Plot, base: float, floor: float, levels: range) -> None:
    """Add columns of balconies; `base` is the height of level 0 in the world."""
    slab = box((2.6, 1.1, 1.0), 2.5)
    d = (plot.d - 0.45) * sign_of(plot.side)
    count = max(int((plot.s1 - plot.s0) / 6), 1)
    for column in range(count):
        s = plot.s0 + (column + 0.5) * (plot.s1 - plot.s0) / count
        x, y, _ = street.path.world(s, d)
        for level in levels:
            moved = slab.moved(x, y, base + level * floor - 0.15, float(street.path.yaw(s)))
            street.add(moved, "concrete", "building", (0.85, 0.85, 0.85))
