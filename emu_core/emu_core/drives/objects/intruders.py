"""One object put into the camera's view: a stranger, or something ordinary of the same size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emu_core.drives.layout import Layout, Rng
from emu_core.drives.objects import people, textures, vehicles
from emu_core.drives.objects.meshes import Mesh, blob, box, merge, tube
from emu_core.drives.objects.shapes import Actor, Part, Tint
from emu_core.drives.traffic import Ego, Mover


@dataclass(frozen=True)
class Intruder:
    """The two things that can stand at one place: never seen in training, or ordinary."""

    unknown: Mover
    known: Mover


def draw_intruder(rng: Rng, ego: Ego, layout: Layout) -> Intruder:
    """Draw an object on the road or its edge, in view of every frame, with its known twin.

    Both are always drawn, so that the drives of a pair agree in all that is drawn afterwards.
    """
    known = vehicles.car(rng) if rng.random() < 0.5 else people.motorcycle(rng, ridden=False)
    vertices = np.concatenate([part.mesh.vertices for part in known.parts])
    length, width, height = (float(v) for v in vertices.max(0) - vertices.min(0))
    s = ego.s(ego.duration) + rng.uniform(9, 24)
    side = -1 if rng.random() < 0.7 else 1
    d = ego.d + side * rng.uniform(0.2, 2.6) - (0.6 if side < 0 else 0)
    d = float(np.clip(d, -layout.edge(1) + 0.6, layout.edge(0) - 0.6))
    heading = float(rng.choice([0.0, np.pi / 2, np.pi]) + rng.normal(0, 0.2))
    unknown = stranger(rng, (length, width, height))
    return Intruder(
        Mover(unknown, s, d, heading=heading),
        Mover(known, s, d, heading=heading),
    )


def make_room(movers: list[Mover], intruder: Intruder, ego: Ego) -> list[Mover]:
    """The movers that neither come near the intruder nor hide it from the camera."""
    place = intruder.unknown  # its length is the known one's
    return [m for m in movers if not _meets(m, place, ego) and not _hides(m, place, ego)]


def _meets(mover: Mover, intruder: Mover, ego: Ego) -> bool:
    s, d = mover.at(_times(ego))
    reach = (mover.actor.length + intruder.actor.length) / 2 + 1.0
    near = np.abs(s - intruder.s) < reach
    return bool(np.any(near & (np.abs(d - intruder.d) < mover.actor.width / 2 + 2.5)))


def _hides(mover: Mover, intruder: Mover, ego: Ego) -> bool:
    time = _times(ego)
    s, d = mover.at(time)
    between = (s > ego.s(time)) & (s < intruder.s)
    return bool(np.any(between & (np.abs(d - (ego.d + intruder.d) / 2) < 3.0)))


def _times(ego: Ego) -> np.ndarray:
    return np.linspace(0, ego.duration, 32)


Piece = tuple[Mesh, str, Tint]
"""Shape, texture and tint."""

HIDE = "hide"
"""Texture of the animal's coat."""


def stranger(rng: Rng, size: tuple[float, float, float]) -> Actor:
    """An unknown object that fills the box `size` (length, width, height), m."""
    kinds: tuple[Callable[[Rng], list[Piece]], ...] = (_beast, _heap, _barrels)
    pieces = kinds[rng.integers(3)](rng)
    vertices = np.concatenate([mesh.vertices for mesh, _, _ in pieces])
    low, high = vertices.min(0), vertices.max(0)
    factor = np.array(size) / (high - low)
    centre = (low + high) / 2
    parts = [
        Part(mesh.moved(-centre[0], -centre[1], -low[2]).scaled(*factor), texture, "unknown", tint)
        for mesh, texture, tint in pieces
    ]
    return Actor(parts, size[0], size[1])


def paint_hide(rng: Rng) -> np.ndarray:
    """The animal's coat: light and dark patches."""
    patches = np.sign(textures.noise(rng, 128, 5))
    return textures.finish(textures.paint((180, 150, 120), patches, 0.35))


def _beast(rng: Rng) -> list[Piece]:
    shade = float(rng.uniform(0.5, 1.0))
    legs = [tube(np.array([[x, y, 0], [x, y, 0.9]]), [0.07, 0.12], 8)
            for x in (-0.6, 0.6) for y in (-0.2, 0.2)]  # fmt: skip
    trunk = blob(rng, 0.05, 2, 1.0).scaled(1.0, 0.36, 0.45).moved(0, 0, 1.15)
    neck = tube(np.array([[0.8, 0, 1.2], [1.2, 0, 1.7]]), [0.22, 0.14], 10)
    head = blob(rng, 0.05, 2).scaled(0.32, 0.14, 0.16).moved(1.35, 0, 1.72)
    return [(merge([*legs, trunk, neck, head]), HIDE, (shade, shade, shade))]


def _heap(rng: Rng) -> list[Piece]:
    pieces: list[Piece] = []
    for x, y, z in ((-0.5, 0, 0), (0.5, 0.1, 0), (-0.1, -0.1, 0.8), (0.1, 0, 1.5)):
        crate = box((0.9, 0.8, 0.8), 0.8).moved(x, y, z, float(rng.normal(0, 0.2)))
        shade = float(rng.uniform(0.7, 1))
        pieces.append((crate, "fence0", (shade, shade * 0.85, shade * 0.6)))
    return pieces


def _barrels(rng: Rng) -> list[Piece]:
    tints: tuple[Tint, ...] = ((0.1, 0.45, 0.9), (0.95, 0.4, 0.05), (0.3, 0.75, 0.3))
    drum = tube(np.array([[0, 0, 0.0], [0, 0, 0.45], [0, 0, 0.9]]), [0.3, 0.33, 0.3], 16)
    places = ((-0.4, 0, 0), (0.4, 0, 0), (0, 0.35, 0), (0, 0.1, 0.92))
    return [(drum.moved(*p), "plain", tints[rng.integers(3)]) for p in places]
