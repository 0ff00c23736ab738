"""Street furniture: lamps, traffic signs and lights, and the trees between road and sidewalk."""

from __future__ import annotations

import numpy as np

from emu_core.drives.layout import sign_of
from emu_core.drives.meshes import box, disc, tube
from emu_core.drives.part import Tint
from emu_core.drives.scenery import Scenery
from emu_core.drives.vegetation import tree

_SIGN_SHAPES = {"round": (20, 0.0), "square": (4, np.pi / 4), "triangle": (3, -np.pi / 2)}
"""Shape → corners of its plate and the angle of the first one."""

SIGNS = tuple(_SIGN_SHAPES)
"""Shapes of traffic signs; their textures are sign_round and so on."""

_LIGHTS: tuple[Tint, ...] = ((0.1, 1.0, 0.35), (1.0, 0.75, 0.1), (1.0, 0.12, 0.1))
"""Colours of a traffic light from below."""

_UNLIT = 0.22
"""Brightness of a traffic light's lamp that is off."""


def furnish(street: Scenery, side: int, s0: float, s1: float) -> None:
    """Lamps, signs and street trees between the road and the sidewalk."""
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
    """A street lamp that reaches over the road."""
    rng = street.rng
    height, reach = rng.uniform(5, 8.5), rng.uniform(0.8, 2.2)
    points = [[0, 0, -0.2], [0, 0, height * 0.9], [0, -0.3 * sign, height],
              [0, -reach * sign, height + 0.15]]  # fmt: skip
    post = tube(np.array(points), [0.11, 0.085, 0.06, 0.05], 8)
    grey = float(rng.uniform(0.3, 0.6))
    street.place(post, (s, d, 0), "plain", "pole", (grey, grey, grey))
    head = box((0.28, 0.7, 0.14)).moved(0, -reach * sign, height + 0.06)
    street.place(head, (s, d, 0), "plain", "pole", (0.9, 0.88, 0.8), glow=0.35)
    street.lamps.append(street.path.world(s, d - reach * sign, height))


def _sign(street: Scenery, s: float, d: float, towards_ego: bool) -> None:
    """One or two plates on a post."""
    rng = street.rng
    height = rng.uniform(2.1, 2.9)
    post = tube(np.array([[0, 0, -0.2], [0, 0, height + 0.3]]), [0.045, 0.045], 8)
    street.place(post, (s, d, 0), "plain", "pole", (0.5, 0.5, 0.52))
    turn, front = (-np.pi / 2, -0.07) if towards_ego else (np.pi / 2, 0.07)
    for row in range(rng.integers(1, 3)):
        shape = str(rng.choice(SIGNS))
        sides, start = _SIGN_SHAPES[shape]
        plate = disc(rng.uniform(0.36, 0.5), 0.05, sides, start).moved(yaw=turn)
        placed = plate.moved(front, 0, height - row * 0.85)
        street.place(placed, (s, d, 0), f"sign_{shape}", "traffic sign")


def traffic_light(street: Scenery, s: float, d: float, face: int) -> None:
    """A traffic light whose lamps look along the road (`face` 1) or against it (−1)."""
    rng = street.rng
    height = rng.uniform(2.6, 3.4)
    post = tube(np.array([[0, 0, -0.2], [0, 0, height + 1.0]]), [0.07, 0.06], 8)
    street.place(post, (s, d, 0), "plain", "pole", (0.35, 0.36, 0.36))
    housing = box((0.3, 0.36, 1.02)).moved(face * 0.2, 0, height)
    street.place(housing, (s, d, 0), "plain", "traffic light", (0.09, 0.1, 0.09))
    lit = rng.integers(len(_LIGHTS))
    for i, (red, green, blue) in enumerate(_LIGHTS):
        lamp = disc(0.12, 0.05, 12).moved(yaw=np.pi / 2)
        placed = lamp.moved(face * 0.37, 0, height + 0.2 + 0.31 * i)
        shade = 1.0 if i == lit else _UNLIT
        tint = (shade * red, shade * green, shade * blue)
        glow = 0.9 if i == lit else 0.0
        street.place(placed, (s, d, 0), "plain", "traffic light", tint, glow)
