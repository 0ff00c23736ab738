"""What lines a street behind its sidewalks: houses, halls, gardens, greens and yards."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from emu_core.drives.buildings import Plot, building
from emu_core.drives.layout import CURB, sign_of
from emu_core.drives.meshes import quad
from emu_core.drives.scenery import Scenery
from emu_core.drives.vegetation import SPECIES, bush, tree

WALLS, FENCES = 3, 3
"""How many textures wall0… and fence0… a street has."""

_MIX = {
    "urban": ("house", "house", "house", "house", "yard"),
    "suburb": ("garden", "garden", "garden", "house", "green"),
    "park": ("green", "green", "green", "house", "yard"),
    "industrial": ("hall", "yard", "hall", "green"),
}
"""Kind of street → what its plots are, equally likely each."""

_CORNER = 2.0
"""Sidewalk around the corner of a junction, metres."""

_FOUNDATION = 0.6
"""How deep boundaries reach below the street, for slopes, metres."""


def line_with_plots(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Fill one side between two junctions with plots."""
    rng, layout = street.rng, street.layout
    kinds = _MIX[layout.kind]
    s = s0 + (_CORNER if s0 > street.start else 0.0)
    while s < s1 - 6:
        kind = kinds[rng.integers(len(kinds))]
        length = rng.uniform(10, 24) if kind != "garden" else rng.uniform(12, 18)
        length = min(length, s1 - s - (_CORNER if s1 < street.end else 0.0))
        if length < 5:
            break
        _FILL[kind](street, Plot(side, s, s + length, layout.front(side)))
        s += length + (rng.uniform(0, 3) if kind == "house" and rng.random() < 0.15 else 0)


def _house(street: Scenery, plot: Plot) -> None:
    height = street.rng.uniform(7, 24)
    building(street, plot, street.rng.uniform(10, 16), height, gable=height < 14)


def _hall(street: Scenery, plot: Plot) -> None:
    setback = Plot(plot.side, plot.s0, plot.s1, plot.d + street.rng.uniform(0, 6))
    height = street.rng.uniform(5, 10)
    building(street, setback, street.rng.uniform(15, 30), height, gable=False)


def _garden(street: Scenery, plot: Plot) -> None:
    """A detached house behind a boundary, with bushes and perhaps a tree before it."""
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


_FILL: dict[str, Callable[[Scenery, Plot], None]] = {
    "house": _house, "hall": _hall, "garden": _garden, "green": _green, "yard": _yard,
}  # fmt: skip


def boundary(street: Scenery, plot: Plot, tall: bool = False) -> None:
    """A wall, a fence or a hedge along the sidewalk."""
    rng = street.rng
    kind = str(rng.choice(["wall", "fence", "hedge"], p=[0.4, 0.42, 0.18]))
    height = rng.uniform(1.6, 2.6) if tall else rng.uniform(0.8, 1.7)
    thick = {"wall": 0.25, "fence": 0.06, "hedge": rng.uniform(0.6, 1.0)}[kind]
    texture = {
        "wall": f"wall{rng.integers(WALLS)}",
        "fence": f"fence{rng.integers(FENCES)}",
        "hedge": f"leaves{rng.integers(SPECIES)}",
    }[kind]
    label = "vegetation" if kind == "hedge" else kind
    tile = {"wall": (2.0, 2.0), "fence": (2.0, height), "hedge": (1.6, 1.6)}[kind]
    count = max(int((plot.s1 - plot.s0) / 4), 1)
    for s0, s1 in pairwise(np.linspace(plot.s0 + 0.2, plot.s1 - 0.2, count + 1)):
        _block(
            street, Plot(plot.side, s0, s1, plot.d + 0.1), (thick, height), texture, label, tile
        )


def _block(
    street: Scenery,
    plot: Plot,
    size: tuple[float, float],
    texture: str,
    label: str,
    tile: tuple[float, float],
) -> None:
    """A cuboid of `size` (thickness, height) on the street; `tile` is metres per texture tile."""
    thick, height = size
    middle = (plot.s0 + plot.s1) / 2
    corners = plot.corners(street, thick)
    corners[:, 2] = float(street.path.world(middle, 0)[2]) - _FOUNDATION
    top = corners + (0, 0, height + _FOUNDATION + CURB)
    for i in range(4):
        a, b = corners[i], corners[(i + 1) % 4]
        length = np.linalg.norm(b - a)
        face = np.array([a, b, top[(i + 1) % 4], top[i]])
        tiles = (float(length / tile[0]), (height + _FOUNDATION) / tile[1])
        street.add(quad(face, tiles), texture, label)
    street.add(quad(top, ((plot.s1 - plot.s0) / tile[0], thick / tile[0])), texture, label)
