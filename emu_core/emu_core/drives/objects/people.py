"""Pedestrians, bicycles and motorcycles."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from emu_core.drives.layout import Rng
from emu_core.drives.objects.meshes import blob, box, disc, merge, tube
from emu_core.drives.objects.shapes import HEADLIGHT, PAINT, Actor, Limb, Part, Tint
from emu_core.drives.objects.vehicles import WHEEL

CLOTHS = 3
"""Number of textures cloth0… of a drive."""

_HIPS = 0.9
"""Height of a rider's hips above the origin of its mesh, metres."""

Surface = tuple[str, Tint]
"""Texture and tint."""

_SKINS: tuple[Tint, ...] = ((0.9, 0.72, 0.6), (0.62, 0.45, 0.34), (0.38, 0.26, 0.2))
_SHOES: Tint = (0.1, 0.09, 0.09)
_DARK: Tint = (0.13, 0.13, 0.14)


def person(rng: Rng, walking: bool = True) -> Actor:
    """Draw a pedestrian; about one in eight is a child."""
    parts, limbs = _standing(rng, "person", walking)
    size = float(rng.uniform(0.62, 0.75) if rng.random() < 0.12 else rng.normal(1.0, 0.05))
    return Actor([p.resized(size) for p in parts], 0.5, 0.6, [x.resized(size) for x in limbs])


def bicycle(rng: Rng, ridden: bool) -> Actor:
    """Draw a bicycle, with a rider or parked."""
    tint = PAINT[rng.integers(len(PAINT))]
    wheels = _two_wheels(0.34, 0.54, 0.045, "spokes", "bicycle")
    points = [(-0.54, 0.34), (-0.15, 0.82), (0.42, 0.85), (-0.08, 0.32), (-0.15, 0.82)]
    ends = [*pairwise(points), ((0.54, 0.34), (0.4, 1.02))]
    frame = [
        tube(np.array([[x0, 0.0, z0], [x1, 0.0, z1]]), [0.03] * 2, 6)
        for (x0, z0), (x1, z1) in ends
    ]
    bar = tube(np.array([[0.38, -0.28, 1.03], [0.4, 0, 1.05], [0.38, 0.28, 1.03]]), [0.025] * 3)
    saddle = box((0.26, 0.14, 0.06)).moved(-0.18, 0, 0.88)
    parts = [wheels, Part(merge([*frame, bar, saddle]), "plain", "bicycle", tint)]
    return _with_rider(rng, parts, ridden, (-0.16, 0.93), 1.75)


def motorcycle(rng: Rng, ridden: bool) -> Actor:
    """Draw a motorcycle, with a rider or parked."""
    tint = PAINT[rng.integers(len(PAINT))]
    wheels = _two_wheels(0.31, 0.68, 0.14, WHEEL, "motorcycle")
    tank = blob(rng, 0.05, 2).scaled(0.5, 0.17, 0.2).moved(0.15, 0, 0.78)
    seat = box((0.75, 0.26, 0.12)).moved(-0.35, 0, 0.74)
    engine = box((0.55, 0.3, 0.34)).moved(0, 0, 0.3)
    fork = tube(np.array([[0.68, 0, 0.31], [0.45, 0, 1.0]]), [0.06] * 2, 6)
    bar = tube(np.array([[0.38, -0.36, 1.05], [0.46, 0, 1.02], [0.38, 0.36, 1.05]]), [0.03] * 3)
    lamp = blob(rng, 0.0, 1).scaled(0.1, 0.1, 0.1).moved(0.6, 0, 0.92)
    parts = [
        wheels,
        Part(tank, "plain", "motorcycle", tint),
        Part(merge([seat, engine, fork, bar]), "plain", "motorcycle", _DARK),
        Part(lamp, "plain", "motorcycle", *HEADLIGHT),
    ]
    return _with_rider(rng, parts, ridden, (-0.3, 0.84), 2.0)


def _two_wheels(radius: float, reach: float, thickness: float, texture: str, label: str) -> Part:
    wheel = disc(radius, thickness, 24)
    return Part(merge([wheel.moved(x, 0, radius) for x in (-reach, reach)]), texture, label)


def _with_rider(
    rng: Rng, parts: list[Part], ridden: bool, saddle: tuple[float, float], length: float
) -> Actor:
    """Add a rider to the saddle (x, z) if `ridden`."""
    x, z = saddle
    rider = _seated(rng, "rider") if ridden else []
    rider = [replace(part, mesh=part.mesh.moved(x, 0, z - _HIPS)) for part in rider]
    return Actor([*parts, *rider], length, 0.6)


def _torso(rng: Rng, label: str, lean: float) -> tuple[list[Part], Surface, Surface]:
    """Draw trunk, head and hair (a rider: helmet) of a person 1.75 m tall; coat and trousers."""
    skin = _SKINS[rng.integers(len(_SKINS))]
    coat, trousers = (PAINT[rng.integers(len(PAINT))] for _ in range(2))
    cloth = [f"cloth{i}" for i in rng.integers(0, CLOTHS, 2)]
    spine = [[0, 0, 0.86], [lean * 0.4, 0, 1.1], [lean * 0.9, 0, 1.36], [lean, 0, 1.5]]
    trunk = tube(np.array(spine), [0.14, 0.165, 0.18, 0.08], 10, 0.6).scaled(1.0, 1.22, 1.0)
    head = blob(rng, 0.03, 1).scaled(0.105, 0.085, 0.125).moved(lean + 0.02, 0, 1.63)
    hair = blob(rng, 0.05, 1).scaled(0.112, 0.095, 0.1).moved(lean - 0.012, 0, 1.68)
    dark = float(rng.uniform(0.05, 0.4))
    hat = (dark, dark * 0.8, dark * 0.6)
    if label == "rider":
        hat = PAINT[rng.integers(len(PAINT))]
    head_parts = [Part(head, "plain", label, skin), Part(hair, "plain", label, hat)]
    parts = [Part(trunk, cloth[0], label, coat), *head_parts]
    return parts, (cloth[0], coat), (cloth[1], trousers)


def _standing(rng: Rng, label: str, walking: bool) -> tuple[list[Part], list[Limb]]:
    """Draw an upright person with swinging legs and arms."""
    lean = 0.04
    parts, (sleeve, coat), (cloth, trousers) = _torso(rng, label, lean)
    leg = tube(np.array([[0, 0, 0], [0.02, 0, -0.42], [0, 0, -0.84]]), [0.095, 0.075, 0.055], 8)
    foot = box((0.26, 0.1, 0.08)).moved(0.07, 0, -0.88)
    arm = tube(np.array([[0, 0, 0], [0, 0, -0.3], [0.05, 0, -0.56]]), [0.06, 0.05, 0.04], 8)
    legs = [Part(leg, cloth, label, trousers), Part(foot, "plain", label, _SHOES)]
    arms = [Part(arm, sleeve, label, coat)]
    limbs, phase = [], float(rng.uniform(0, 2 * np.pi))
    swing = 0.5 if walking else 0.03
    for y, opposite in ((-0.1, 0.0), (0.1, np.pi)):
        limbs.append(Limb(legs, (0, y, 0.92), swing, phase + opposite))
        limbs.append(Limb(arms, (lean, y * 2.3, 1.42), swing * 0.8, phase + opposite + np.pi))
    return parts, limbs


def _seated(rng: Rng, label: str) -> list[Part]:
    """Draw a seated person with the hands on the handlebar."""
    lean = 0.45
    parts, (sleeve, coat), (cloth, trousers) = _torso(rng, label, lean)
    for y in (-0.13, 0.13):
        leg = np.array([[0, y, 0.9], [0.38, y, 0.78], [0.3, y, 0.4]])
        parts.append(Part(tube(leg, [0.1, 0.08, 0.06], 8), cloth, label, trousers))
        arm = np.array([[lean, y * 1.5, 1.42], [0.5, y * 1.9, 1.2], [0.72, y * 2, 1.12]])
        parts.append(Part(tube(arm, [0.06, 0.05, 0.045], 8), sleeve, label, coat))
    return parts
