"""Trees and bushes."""

from __future__ import annotations

import numpy as np

from emu_core.drives.layout import CURB, VIEW
from emu_core.drives.meshes import blob, merge, tube
from emu_core.drives.scenery import Scenery

SPECIES = 3
"""How many textures leaves0, leaves1… a street has."""


def tree(street: Scenery, s: float, d: float) -> None:
    """A trunk under a crown of three to five lumps."""
    rng = street.rng
    height, leaves = rng.uniform(4.5, 10), f"leaves{rng.integers(SPECIES)}"
    lean = rng.normal(0, 0.15, 2)
    trunk = tube(
        np.array([[0, 0, -0.4], [lean[0], lean[1], height * 0.35], [lean[0], 0, height * 0.7]]),
        np.array([0.24, 0.17, 0.08]) * height / 7,
        8,
        0.8,
    )
    street.place(trunk, (s, d, CURB), "bark", "vegetation")
    crown, wide = [], rng.uniform(0.22, 0.36) * height
    detail = _detail(s - (street.end - VIEW), d)
    for _ in range(rng.integers(3, 6)):
        size = wide * rng.uniform(0.55, 0.9)
        lump = blob(rng, 0.17, detail, 1.5).scaled(size, size, size * rng.uniform(0.75, 1.2))
        x, y = rng.normal(0, wide * 0.4, 2)
        crown.append(lump.moved(x, y, height * rng.uniform(0.58, 0.9)))
    street.place(merge(crown), (s, d, CURB), leaves, "vegetation")


def _detail(ahead: float, d: float) -> int:
    """Subdivisions of a crown, `ahead` metres past the camera's last place: fewer far away."""
    if ahead < 20 and abs(d) < 12:
        return 3
    return 2 if ahead < 80 else 1


def bush(street: Scenery, s: float, d: float, size: float) -> None:
    """A round bush of about `size` metres radius."""
    rng = street.rng
    mesh = blob(rng, 0.15, 2, 1.0).scaled(size, size, size * rng.uniform(0.6, 1.1))
    placed = street.path.place(mesh.moved(z=size * 0.5), s, d, CURB)
    street.add(placed, f"leaves{rng.integers(SPECIES)}", "vegetation")
