"""Who is in the street, where, and how they move: drawn from a seed, steered in straight lines.

Motion is linear in street coordinates, so it bends with the road. Nobody comes near the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emu_core.drives import actors
from emu_core.drives.actors import Actor
from emu_core.drives.street import CURB, Layout

Rng = np.random.Generator


@dataclass
class Mover:
    """An actor with its place (s, d, z) m at time 0, velocity (m/s) and heading (rad)."""

    actor: Actor
    s: float
    d: float
    speed: float = 0.0
    drift: float = 0.0
    heading: float = 0.0
    z: float = 0.0
    name: str = ""

    def at(self, time: float) -> tuple[float, float]:
        """Street coordinates (s, d) at a time in seconds."""
        return self.s + self.speed * time, self.d + self.drift * time


@dataclass(frozen=True)
class Ego:
    """The camera's own course: lane offset d (m) and speed (m/s) for `duration` seconds."""

    d: float
    speed: float
    duration: float

    def s(self, time: float) -> float:
        return self.speed * time


def draw_ego(rng: Rng, layout: Layout, duration: float, speed: float) -> Ego:
    """Put the camera into one of the right-hand lanes."""
    lane = int(rng.integers(layout.lanes))
    d = -(lane + 0.5) * layout.lane + rng.normal(0, 0.15)
    return Ego(float(d), speed, duration)


def populate(rng: Rng, layout: Layout, ego: Ego, end: float) -> list[Mover]:
    """Everybody in the street between the camera's start and `end`."""
    density = rng.uniform(0.5, 1.3)
    reach = min(end - 20, ego.s(ego.duration) + 110)
    movers = [
        *_lanes(rng, layout, ego, reach, density),
        *_parked(rng, layout, reach),
        *_walkers(rng, layout, reach, density),
        *_crossers(rng, layout, ego),
    ]
    return [mover for mover in movers if not _in_the_way(mover, ego)]


def _vehicle(rng: Rng, tram: bool = False) -> Actor:
    if tram and rng.random() < 0.4:
        return actors.tram(rng)
    kind = rng.choice(
        ["car", "truck", "bus", "motorcycle", "bicycle"], p=[0.53, 0.14, 0.1, 0.12, 0.11]
    )
    if kind in ("motorcycle", "bicycle"):
        return getattr(actors, kind)(rng, True)
    return getattr(actors, kind)(rng)


def _lanes(rng: Rng, layout: Layout, ego: Ego, reach: float, density: float) -> list[Mover]:
    """Moving traffic: one speed for each lane, so that nobody runs into anybody."""
    movers = []
    for lane in range(layout.lanes):
        centre = (lane + 0.5) * layout.lane
        for side in (1, -1):
            d = centre * side
            own = side < 0 and abs(d - ego.d) < layout.lane / 2
            if side < 0:
                speed = ego.speed if own else ego.speed * rng.uniform(0.6, 1.3)
            else:
                speed = -rng.uniform(5, 12)
            extra = abs(speed) * ego.duration
            s = rng.uniform(11, 40) if own else -25 + rng.uniform(0, 20)
            last = reach + (extra if side > 0 else 0)
            while s < last:
                actor = _vehicle(rng, tram=layout.tram and lane == 0 and side > 0)
                s += actor.length / 2
                heading = 0.0 if side < 0 else np.pi
                shift = rng.normal(0, 0.12) - (0.4 if actor.width < 1 else 0.0) * side * -1
                movers.append(Mover(actor, s, d + shift, speed, heading=heading))
                s += actor.length / 2 + rng.exponential(24) / density + 4
    return movers


def _parked(rng: Rng, layout: Layout, reach: float) -> list[Mover]:
    movers = []
    for side, sign in ((0, 1), (1, -1)):
        if layout.parking[side]:
            d = sign * (layout.edge(side) - layout.parking[side] / 2)
            s, fill = -15.0, rng.uniform(0.4, 0.95)
            while s < reach:
                kind = rng.choice(["car", "truck", "motorcycle"], p=[0.86, 0.06, 0.08])
                actor = actors.motorcycle(rng, False) if kind == "motorcycle" else getattr(
                    actors, kind)(rng)  # fmt: skip
                s += actor.length / 2
                if rng.random() < fill and not _at_junction(layout, s, 6):
                    heading = 0.0 if side else np.pi
                    movers.append(Mover(actor, s, d, heading=heading + rng.normal(0, 0.02)))
                s += actor.length / 2 + rng.uniform(0.6, 1.6)
        wall = sign * (layout.front(side) - 0.5)
        for _ in range(rng.integers(1, 6)):
            s = rng.uniform(0, reach)
            if not _at_junction(layout, s, 3):
                movers.append(
                    Mover(actors.bicycle(rng, False), s, wall, heading=rng.normal(0, 0.15), z=CURB)
                )
    return movers


def _walkers(rng: Rng, layout: Layout, reach: float, density: float) -> list[Mover]:
    movers = []
    for side, sign in ((0, 1), (1, -1)):
        inner = layout.edge(side) + layout.verge[side] + 0.5
        outer = layout.front(side) - 0.4
        for _ in range(rng.poisson(reach / 13 * density)):
            group = 2 if rng.random() < 0.3 else 1
            s, d = rng.uniform(-5, reach), rng.uniform(inner, outer) * sign
            walking = rng.random() < 0.8
            speed = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.6)) if walking else 0.0
            heading = (0.0 if speed > 0 else np.pi) if walking else rng.uniform(0, 2 * np.pi)
            if _at_junction(layout, s, 1):
                continue
            for k in range(group):
                figure = actors.person(rng, walking)
                offset = k * 0.6 * rng.choice([-1, 1])
                movers.append(
                    Mover(figure, s + k * 0.3, d + offset, speed, heading=heading, z=CURB)
                )
    return movers


def _crossers(rng: Rng, layout: Layout, ego: Ego) -> list[Mover]:
    """People on the zebra stripes before each junction, out of the camera's way."""
    movers = []
    for s0, _ in layout.junctions:
        for _ in range(rng.poisson(1.6)):
            drift = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.5))
            d = rng.uniform(-layout.edge(1) - 3, layout.edge(0) + 3)
            heading = np.pi / 2 if drift > 0 else -np.pi / 2
            s = s0 - 3 + rng.normal(0, 0.7)
            movers.append(Mover(actors.person(rng), s, d - drift, 0.0, drift, heading))
    return movers


def _at_junction(layout: Layout, s: float, margin: float) -> bool:
    return any(a - margin < s < b + margin for a, b in layout.junctions)


def _in_the_way(mover: Mover, ego: Ego) -> bool:
    """Whether the camera would meet the mover, head-on or by overtaking."""
    time = np.linspace(0, ego.duration, 64)
    s, d = mover.at(time)
    near = np.abs(s - ego.speed * time) < mover.actor.length / 2 + 5.0
    beside = np.abs(d - ego.d) < mover.actor.width / 2 + 1.2
    return bool(np.any(near & beside))
