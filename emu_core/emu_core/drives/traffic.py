"""Vehicles and people on the street, and how they move.

Motion is linear in street coordinates, so it follows the bends of the road. Nothing that moves
comes near the camera.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from emu_core.drives.layout import CURB, Layout, Rng, sign_of
from emu_core.drives.objects import people, vehicles
from emu_core.drives.objects.shapes import Actor

Time = TypeVar("Time", float, np.ndarray)

_VEHICLES: dict[str, Callable[[Rng], Actor]] = {
    "car": vehicles.car,
    "truck": vehicles.truck,
    "bus": vehicles.bus,
    "motorcycle": lambda rng: people.motorcycle(rng, ridden=True),
    "bicycle": lambda rng: people.bicycle(rng, ridden=True),
}
_VEHICLE_SHARES = (0.53, 0.14, 0.1, 0.12, 0.11)

_PARKED: dict[str, Callable[[Rng], Actor]] = {
    "car": vehicles.car,
    "truck": vehicles.truck,
    "motorcycle": lambda rng: people.motorcycle(rng, ridden=False),
}
_PARKED_SHARES = (0.86, 0.06, 0.08)

_AHEAD = 110.0
"""Extent of the traffic ahead of the last camera position, metres."""

_KEEP_AHEAD, _KEEP_BESIDE = 5.0, 1.2
"""Least distance of movers from the camera along and across the street, metres."""


@dataclass(frozen=True)
class Mover:
    """Actor with position (s, d, z) at time 0 in m, velocity in m/s and heading in rad."""

    actor: Actor
    s: float
    d: float
    speed: float = 0.0
    drift: float = 0.0
    heading: float = 0.0
    z: float = 0.0

    def at(self, time: Time) -> tuple[Time, Time]:
        """Return the street coordinates (s, d) at a time, or at an array of times, in seconds."""
        return self.s + self.speed * time, self.d + self.drift * time


@dataclass(frozen=True)
class Ego:
    """Path of the camera: lane offset d (m) and speed (m/s) for `duration` seconds."""

    d: float
    speed: float
    duration: float

    def s(self, time: Time) -> Time:
        """Return the travelled distance at a time, or at an array of times, metres."""
        return self.speed * time


def draw_ego(rng: Rng, layout: Layout, duration: float, speed: float) -> Ego:
    """Place the camera in one of the right-hand lanes."""
    lane = int(rng.integers(layout.lanes))
    d = -(lane + 0.5) * layout.lane + rng.normal(0, 0.15)
    return Ego(float(d), speed, duration)


def populate(rng: Rng, layout: Layout, ego: Ego, end: float) -> list[Mover]:
    """Draw all traffic between the start of the camera and `end` (m along the road)."""
    density = rng.uniform(0.5, 1.3)
    reach = min(end - 20, ego.s(ego.duration) + _AHEAD)
    movers = [
        *_lanes(rng, layout, ego, reach, density),
        *_parked(rng, layout, reach),
        *_walkers(rng, layout, reach, density),
        *_crossers(rng, layout),
    ]
    return [mover for mover in movers if not in_the_way(mover, ego)]


def _lanes(rng: Rng, layout: Layout, ego: Ego, reach: float, density: float) -> list[Mover]:
    """Draw the moving vehicles; all vehicles of a lane have one speed, so none collide."""
    movers = []
    for lane in range(layout.lanes):
        centre = (lane + 0.5) * layout.lane
        for side in (0, 1):
            d = centre * sign_of(side)
            oncoming = side == 0
            own = not oncoming and abs(d - ego.d) < layout.lane / 2
            if oncoming:
                speed = -rng.uniform(5, 12)
            else:
                speed = ego.speed if own else ego.speed * rng.uniform(0.6, 1.3)
            s = rng.uniform(11, 40) if own else -25 + rng.uniform(0, 20)
            last = reach + (abs(speed) * ego.duration if oncoming else 0)
            heading = np.pi if oncoming else 0.0
            while s < last:
                actor = _vehicle(rng, tram=layout.tram and lane == 0 and oncoming)
                s += actor.length / 2
                aside = rng.normal(0, 0.12)
                if actor.width < 1:  # two-wheelers keep to the edge
                    aside += 0.4 * sign_of(side)
                movers.append(Mover(actor, s, d + aside, speed, heading=heading))
                s += actor.length / 2 + rng.exponential(24) / density + 4
    return movers


def _vehicle(rng: Rng, tram: bool) -> Actor:
    if tram and rng.random() < 0.4:
        return vehicles.tram(rng)
    return _VEHICLES[str(rng.choice(list(_VEHICLES), p=_VEHICLE_SHARES))](rng)


def _parked(rng: Rng, layout: Layout, reach: float) -> list[Mover]:
    """Draw vehicles in the parking lanes and bicycles on the sidewalks."""
    movers = []
    for side in (0, 1):
        sign = sign_of(side)
        if layout.parking[side]:
            d = sign * (layout.edge(side) - layout.parking[side] / 2)
            s, fill = -15.0, rng.uniform(0.4, 0.95)
            while s < reach:
                actor = _PARKED[str(rng.choice(list(_PARKED), p=_PARKED_SHARES))](rng)
                s += actor.length / 2
                if rng.random() < fill and not layout.at_junction(s, 6):
                    heading = 0.0 if side else np.pi
                    movers.append(Mover(actor, s, d, heading=heading + rng.normal(0, 0.02)))
                s += actor.length / 2 + rng.uniform(0.6, 1.6)
        wall = sign * (layout.front(side) - 0.5)
        for _ in range(rng.integers(1, 6)):
            s = rng.uniform(0, reach)
            if not layout.at_junction(s, 3):
                bicycle = people.bicycle(rng, ridden=False)
                movers.append(Mover(bicycle, s, wall, heading=rng.normal(0, 0.15), z=CURB))
    return movers


def _walkers(rng: Rng, layout: Layout, reach: float, density: float) -> list[Mover]:
    """Draw people on the sidewalks, alone or in pairs; one in five stands."""
    movers = []
    for side in (0, 1):
        inner = layout.edge(side) + layout.verge[side] + 0.5
        outer = layout.front(side) - 0.4
        for _ in range(rng.poisson(reach / 13 * density)):
            group = 2 if rng.random() < 0.3 else 1
            s, d = rng.uniform(-5, reach), rng.uniform(inner, outer) * sign_of(side)
            walking = bool(rng.random() < 0.8)
            speed = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.6)) if walking else 0.0
            heading = (0.0 if speed > 0 else np.pi) if walking else rng.uniform(0, 2 * np.pi)
            if layout.at_junction(s, 1):
                continue
            for k in range(group):
                person = people.person(rng, walking)
                aside = k * 0.6 * rng.choice([-1, 1])
                place = (s + k * 0.3, d + aside)
                movers.append(Mover(person, *place, speed, heading=heading, z=CURB))
    return movers


def _crossers(rng: Rng, layout: Layout) -> list[Mover]:
    """Draw people on the zebra crossing before each junction."""
    movers = []
    for s0, _ in layout.junctions:
        for _ in range(rng.poisson(1.6)):
            drift = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.5))
            d = rng.uniform(-layout.edge(1) - 3, layout.edge(0) + 3)
            heading = np.pi / 2 if drift > 0 else -np.pi / 2
            s = s0 - 3 + rng.normal(0, 0.7)
            movers.append(Mover(people.person(rng), s, d - drift, 0.0, drift, heading))
    return movers


def in_the_way(mover: Mover, ego: Ego) -> bool:
    """Check whether the mover ever comes near the camera: oncoming, overtaking or standing."""
    time = np.linspace(0, ego.duration, 64)
    s, d = mover.at(time)
    near = np.abs(s - ego.s(time)) < mover.actor.length / 2 + _KEEP_AHEAD
    beside = np.abs(d - ego.d) < mover.actor.width / 2 + _KEEP_BESIDE
    return bool(np.any(near & beside))
