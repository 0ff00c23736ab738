"""One object put into the camera's view: a stranger, or something ordinary of the same size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emu_core.drives import people, vehicles
from emu_core.drives.layout import Layout, Rng
from emu_core.drives.strangers import stranger
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
