"""Place one object in view of the camera: an unknown one, or an ordinary one of the same size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from emu_core.drives.layout import Layout, Rng
from emu_core.drives.objects import people, textures, vehicles
from emu_core.drives.objects.meshes import blob, box, merge, tube
from emu_core.drives.objects.shapes import Actor, Part, Tint
from emu_core.drives.traffic import Ego, Mover

HIDE = "hide"  # texture of the unknown animal


def draw_intruder(rng: Rng, ego: Ego, layout: Layout) -> dict[str, Mover]:
    """Draw two objects for one place on the road or at its edge, in view of every frame.

    "unknown" is in no training drive, "known" is an ordinary object of the same size. Both are
    always drawn, so that the two drives of a pair agree in all later random numbers.
    """
    known = vehicles.car(rng) if rng.random() < 0.5 else people.motorcycle(rng, ridden=False)
    vertices = np.concatenate([part.mesh.vertices for part in known.parts])
    length, width, height = (float(v) for v in vertices.max(0) - vertices.min(0))
    s = ego.s(ego.duration) + rng.uniform(9, 24)
    side = -1 if rng.random() < 0.7 else 1
    d = ego.d + side * rng.uniform(0.2, 2.6) - (0.6 if side < 0 else 0)
    d = float(np.clip(d, -layout.edge(1) + 0.6, layout.edge(0) - 0.6))
    heading = float(rng.choice([0.0, np.pi / 2, np.pi]) + rng.normal(0, 0.2))
    actors = {"unknown": unknown_object(rng, (length, width, height)), "known": known}
    return {kind: Mover(actor, s, d, heading=heading) for kind, actor in actors.items()}


def make_room(movers: list[Mover], place: Mover, ego: Ego) -> list[Mover]:
    """Remove the movers that come near the intruder `place` or hide it from the camera.

    `place` is the unknown object in both drives of a pair, so that both keep the same movers.
    """
    time = np.linspace(0, ego.duration, 32)

    def disturbs(mover: Mover) -> bool:
        s, d = mover.at(time)
        reach = (mover.actor.length + place.actor.length) / 2 + 1.0
        is_near = np.abs(s - place.s) < reach
        is_near &= np.abs(d - place.d) < mover.actor.width / 2 + 2.5
        hides = (s > ego.s(time)) & (s < place.s) & (np.abs(d - (ego.d + place.d) / 2) < 3.0)
        return bool(np.any(is_near | hides))

    return [mover for mover in movers if not disturbs(mover)]


def unknown_object(rng: Rng, size: tuple[float, float, float]) -> Actor:
    """Draw an animal, crates or barrels that fill a box of `size` (length, width, height), m."""
    kinds: tuple[Callable[[Rng], list[Part]], ...] = (_animal, _crates, _barrels)
    parts = kinds[rng.integers(3)](rng)
    vertices = np.concatenate([part.mesh.vertices for part in parts])
    low, high = vertices.min(0), vertices.max(0)
    factor = np.array(size) / (high - low)
    x, y, _ = -(low + high) / 2
    parts = [replace(p, mesh=p.mesh.moved(x, y, -low[2]).scaled(*factor)) for p in parts]
    return Actor(parts, size[0], size[1])


def paint_hide(rng: Rng) -> np.ndarray:
    """Paint the texture of the animal: light and dark patches."""
    patches = np.sign(textures.noise(rng, 128, 5))
    return textures.finish(textures.paint((180, 150, 120), patches, 0.35))


def _animal(rng: Rng) -> list[Part]:
    shade = float(rng.uniform(0.5, 1.0))
    feet = [(x, y) for x in (-0.6, 0.6) for y in (-0.2, 0.2)]
    legs = [tube([[x, y, 0], [x, y, 0.9]], [0.07, 0.12], 8) for x, y in feet]
    trunk = blob(rng, 0.05, 2, 1.0).scaled(1.0, 0.36, 0.45).moved(0, 0, 1.15)
    neck = tube([[0.8, 0, 1.2], [1.2, 0, 1.7]], [0.22, 0.14], 10)
    head = blob(rng, 0.05, 2).scaled(0.32, 0.14, 0.16).moved(1.35, 0, 1.72)
    return [Part(merge([*legs, trunk, neck, head]), HIDE, "unknown", (shade, shade, shade))]


def _crates(rng: Rng) -> list[Part]:
    parts = []
    for x, y, z in ((-0.5, 0, 0), (0.5, 0.1, 0), (-0.1, -0.1, 0.8), (0.1, 0, 1.5)):
        crate = box((0.9, 0.8, 0.8), 0.8).moved(x, y, z, float(rng.normal(0, 0.2)))
        shade = float(rng.uniform(0.7, 1))
        parts.append(Part(crate, "fence0", "unknown", (shade, shade * 0.85, shade * 0.6)))
    return parts


def _barrels(rng: Rng) -> list[Part]:
    tints: tuple[Tint, ...] = ((0.1, 0.45, 0.9), (0.95, 0.4, 0.05), (0.3, 0.75, 0.3))
    drum = tube([[0.0, 0, 0], [0, 0, 0.45], [0, 0, 0.9]], [0.3, 0.33, 0.3], 16)
    places = ((-0.4, 0, 0), (0.4, 0, 0), (0, 0.35, 0), (0, 0.1, 0.92))
    return [Part(drum.moved(*p), "plain", "unknown", tints[rng.integers(3)]) for p in places]
