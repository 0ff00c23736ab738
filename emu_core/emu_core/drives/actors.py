"""What moves in a street: cars, trucks, buses, trams, two-wheelers, people. Shapes only.

Each builder returns an `Actor` in its own frame: x forward, origin on the ground below its middle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from emu_core.drives import textures
from emu_core.drives.meshes import Mesh, blob, box, disc, loft, merge, tube
from emu_core.drives.street import Part

Rng = np.random.Generator
Tint = tuple[float, float, float]

TIRE = "wheel"
SHINY = frozenset({"sedan", "hatch", "suv", "van", "bus", "tram", "cab"})
LIGHTS = {"front": ((1.0, 1.0, 0.92), 0.35), "rear": ((0.75, 0.05, 0.05), 0.25)}


@dataclass(frozen=True)
class Limb:
    """A leg or an arm that swings about y through `pivot` (m): `swing` rad at `phase` rad."""

    parts: list[Part]
    pivot: tuple[float, float, float]
    swing: float
    phase: float


@dataclass
class Actor:
    """Parts and limbs in the actor's frame; `length` and `width` in metres on the ground."""

    parts: list[Part]
    length: float
    width: float
    limbs: list[Limb] = field(default_factory=list)


@dataclass(frozen=True)
class _Body:
    """A car's style: length, half width, wheel radius and the roof line (u, z) from the rear."""

    length: float
    half: float
    wheel: float
    roof: tuple[tuple[float, float], ...]
    belt: float
    cabin: tuple[float, float, float, float]
    axles: tuple[float, ...] = (0.19, 0.81)
    bottom: float = 0.24


_CARS = {
    "sedan": _Body(4.6, 0.9, 0.32, ((0, 0.6), (0.015, 0.86), (0.14, 0.95), (0.29, 1.38),
                   (0.4, 1.45), (0.54, 1.43), (0.7, 0.98), (0.95, 0.8), (0.985, 0.68), (1, 0.5)),
                   0.9, (0.15, 0.28, 0.56, 0.69)),
    "hatch": _Body(4.0, 0.87, 0.31, ((0, 0.65), (0.02, 0.98), (0.1, 1.4), (0.2, 1.49),
                   (0.5, 1.48), (0.7, 1.02), (0.94, 0.84), (0.98, 0.7), (1, 0.5)),
                   0.94, (0.03, 0.1, 0.53, 0.69)),
    "suv": _Body(4.6, 0.95, 0.37, ((0, 0.7), (0.015, 1.12), (0.08, 1.6), (0.2, 1.7), (0.52, 1.68),
                 (0.68, 1.16), (0.95, 1.02), (0.985, 0.85), (1, 0.6)), 1.08,
                 (0.025, 0.08, 0.54, 0.67), bottom=0.3),
    "van": _Body(5.2, 0.98, 0.34, ((0, 0.6), (0.01, 1.85), (0.03, 1.98), (0.3, 2.02), (0.68, 1.98),
                 (0.84, 1.2), (0.97, 0.98), (0.99, 0.8), (1, 0.5)), 1.15,
                 (0.0, 0.008, 0.7, 0.83)),
}  # fmt: skip
_BUS = _Body(11.5, 1.26, 0.48, ((0, 1.0), (0.004, 2.85), (0.012, 3.0), (0.5, 3.05), (0.985, 3.0),
             (0.995, 1.4), (1, 0.5)), 1.25, (0.0, 0.01, 0.986, 0.995), (0.27, 0.78), 0.32)  # fmt: skip
_TRAM = _Body(26.0, 1.2, 0.34, ((0, 0.8), (0.012, 2.4), (0.03, 3.2), (0.5, 3.3), (0.97, 3.2),
              (0.988, 2.4), (1, 0.8)), 1.35, (0.0, 0.028, 0.972, 0.99), (0.12, 0.5, 0.88),
              0.25)  # fmt: skip
_CAB = _Body(2.2, 1.2, 0.46, ((0, 0.8), (0.01, 2.6), (0.5, 2.75), (0.86, 2.55), (0.96, 1.5),
             (1, 0.6)), 1.5, (0.0, 0.005, 0.87, 0.955), (0.55,), 0.4)  # fmt: skip

PAINT: tuple[Tint, ...] = (
    (0.92, 0.92, 0.92), (0.12, 0.12, 0.13), (0.55, 0.56, 0.58), (0.32, 0.33, 0.35),
    (0.62, 0.1, 0.1), (0.12, 0.2, 0.48), (0.2, 0.34, 0.24), (0.7, 0.62, 0.45), (0.8, 0.55, 0.12),
)  # fmt: skip


def paint_common(rng: Rng) -> dict[str, np.ndarray]:
    """The textures that actors name."""
    images = {name: _body_texture(rng, body) for name, body in _CARS.items()}
    images |= {"bus": _body_texture(rng, _BUS, 9), "tram": _body_texture(rng, _TRAM, 16)}
    images |= {"cab": _body_texture(rng, _CAB, 1), TIRE: textures.wheel(rng)}
    images["spokes"] = textures.wheel(rng, spokes=True)
    images |= {f"cloth{i}": textures.cloth(rng) for i in range(3)}
    images["cargo"] = _cargo_texture(rng)
    images["hide"] = textures.finish(
        textures.paint((180, 150, 120), np.sign(textures.noise(rng, 128, 5)), 0.35)
    )
    return images


def _body_texture(rng: Rng, body: _Body, panes: int = 2) -> np.ndarray:
    """Windows, doors and sills in the loft's own coordinates: u along x, v around the section."""
    image = np.full((128, 512, 3), 236, np.float32)
    glass = np.array([34.0, 40.0, 46.0])
    rear0, rear1, front0, front1 = (round(512 * u) for u in body.cabin)
    sheen = np.linspace(1.7, 0.8, 14)[:, None, None]
    edges = np.linspace(rear1 - 8, front0 + 14, panes + 1).astype(int)
    for x0, x1 in zip(edges[:-1], edges[1:], strict=True):
        image[34:48, x0 + 4 : x1 - 4] = glass * sheen[::-1]
        image[80:94, x0 + 4 : x1 - 4] = glass * sheen
    image[36:92, rear0 : max(rear1, rear0 + 2)] = glass * 1.2
    image[36:92, front0:front1] = glass * 1.4
    for x in np.linspace(rear1 + 10, front0 + 10, panes + 1).astype(int):
        image[6:34, x : x + 2] *= 0.55
        image[94:122, x : x + 2] *= 0.55
        image[28:31, x - 14 : x - 6] *= 0.5
        image[97:100, x - 14 : x - 6] *= 0.5
    image[:7] *= 0.3
    image[121:] *= 0.3
    return textures.finish(textures.paint(image, cv_noise(rng), 0.015))[::-1]


def cv_noise(rng: Rng) -> np.ndarray:
    return textures.noise(rng, 512, 16)[:128]


def _cargo_texture(rng: Rng) -> np.ndarray:
    image = textures.paint((228, 228, 226), textures.noise(rng, 128, 8), 0.03)
    image[:, ::16] *= 0.88
    if rng.random() < 0.7:
        band = rng.integers(30, 60)
        image[band : band + 34, 20:108] *= (
            np.array(textures.jitter(rng, (90, 130, 190), 0.4)) / 255
        )
    return textures.finish(image)


def _hull(body: _Body, texture: str, tint: Tint, label: str, x: float = 0.0) -> Part:
    u = np.array([p[0] for p in body.roof])
    top = np.array([p[1] for p in body.roof])
    fine = np.unique(np.concatenate([u, np.linspace(0, 1, 24)]))
    top = np.interp(fine, u, top)
    belt = np.minimum(top - 0.02, body.belt)
    taper = 1 - 0.1 * np.clip((np.abs(fine - 0.5) - 0.38) / 0.12, 0, 1) ** 2
    if body.length > 8:
        taper = np.ones_like(fine)
    half = body.half * taper
    cabin = np.clip((top - body.belt) / 0.5, 0, 1)
    narrow = 0.06 if body.length > 8 or body.length < 3 else 0.2
    roof = half * (1 - 0.04 - narrow * cabin)
    low = np.full_like(fine, body.bottom)
    waist = np.minimum(0.5 * (body.bottom + body.belt), belt)
    right = [(-half * 0.96, low), (-half, waist), (-half * 0.99, belt), (-roof, top)]
    middle = [(np.zeros_like(fine), top + 0.03)]
    left = [(-y, z) for y, z in reversed(right)]
    sections = np.stack([np.stack(p, -1) for p in [*right, *middle, *left]], 1)
    mesh = loft((fine - 0.5) * body.length, sections).moved(x=x)
    return Part(mesh, texture, label, tint)


def _wheels(body: _Body, label: str, x: float = 0.0) -> list[Part]:
    places = [((u - 0.5) * body.length + x, side * (body.half - 0.09))
              for u in body.axles for side in (-1, 1)]  # fmt: skip
    wheel = disc(body.wheel, 0.24)
    return [Part(merge([wheel.moved(px, y, body.wheel) for px, y in places]), TIRE, label)]


def _lights(length: float, half: float, height: float, label: str, x: float = 0.0) -> list[Part]:
    parts = []
    for end, sign in (("front", 1), ("rear", -1)):
        tint, glow = LIGHTS[end]
        lamp = box((0.06, half * 0.36, 0.15))
        pair = [
            lamp.moved(sign * (length / 2 - 0.03) + x, y * half * 0.72, height) for y in (-1, 1)
        ]
        parts.append(Part(merge(pair), "plain", label, tint, glow))
    plate = box((0.03, 0.5, 0.12))
    ends = [plate.moved(sign * length / 2 + x, 0, height - 0.25) for sign in (-1, 1)]
    return [*parts, Part(merge(ends), "plain", label, (0.9, 0.9, 0.85))]


def _screen(
    length: float, half: float, low: float, high: float, label: str, x: float = 0.0
) -> Part:
    """A flat windscreen on the front of what has a box for a body."""
    pane = box((0.06, half * 1.66, high - low)).moved(length / 2 - 0.02 + x, 0, low)
    return Part(pane, "plain", label, (0.12, 0.14, 0.16))


def car(rng: Rng) -> Actor:
    """A sedan, hatchback, SUV or van; Cityscapes calls them all car."""
    style = str(rng.choice(list(_CARS), p=[0.34, 0.32, 0.22, 0.12]))
    body, tint = _CARS[style], PAINT[rng.integers(len(PAINT))]
    parts = [_hull(body, style, tint, "car"), *_wheels(body, "car")]
    parts += _lights(body.length, body.half, min(body.roof[-2][1], 0.7), "car")
    size = float(rng.normal(1, 0.03))
    return Actor(
        [_resized(part, size) for part in parts], body.length * size, 2 * body.half * size
    )


def truck(rng: Rng) -> Actor:
    """A cab with a box or a flat bed behind it."""
    long, tint = float(rng.uniform(4.0, 7.0)), PAINT[rng.integers(len(PAINT))]
    shift = long / 2
    cab = _hull(_CAB, "cab", tint, "truck", shift)
    parts = [cab, *_wheels(_CAB, "truck", shift - 0.2)]
    parts.append(_screen(_CAB.length - 0.04, _CAB.half, 1.5, 2.2, "truck", shift))
    bed = box((long, 2.3, 0.3)).moved(-_CAB.length / 2, 0, 0.75)
    parts.append(Part(bed, "plain", "truck", (0.2, 0.2, 0.22)))
    cargo_tint = PAINT[rng.integers(len(PAINT))] if rng.random() < 0.5 else (0.95, 0.95, 0.93)
    high = float(rng.uniform(1.9, 2.7)) if rng.random() < 0.8 else 0.6
    cargo = box((long, 2.45, high)).moved(-_CAB.length / 2, 0, 1.05)
    parts.append(Part(cargo, "cargo", "truck", cargo_tint))
    rear = _Body(long, 1.2, 0.46, (), 0, (0, 0, 0, 0), (0.15, 0.3) if long > 5.5 else (0.2,))
    parts += _wheels(rear, "truck", -_CAB.length / 2)
    total = long + _CAB.length
    return Actor([*parts, *_lights(total, 1.15, 0.75, "truck")], total, 2.45)


def bus(rng: Rng) -> Actor:
    """A city bus."""
    tints = ((0.85, 0.7, 0.15), (0.7, 0.12, 0.12), (0.9, 0.9, 0.88), (0.15, 0.3, 0.6))
    parts = [_hull(_BUS, "bus", tints[rng.integers(4)], "bus"), *_wheels(_BUS, "bus")]
    parts.append(_screen(_BUS.length, _BUS.half, 1.15, 2.5, "bus"))
    board = box((0.05, 1.6, 0.28)).moved(_BUS.length / 2 - 0.04, 0, 2.6)
    parts.append(Part(board, "plain", "bus", (0.95, 0.6, 0.1), 0.3))
    return Actor([*parts, *_lights(_BUS.length, 1.2, 0.6, "bus")], _BUS.length, 2.52)


def tram(rng: Rng) -> Actor:
    """A tram; Cityscapes counts it as train."""
    tints = ((0.92, 0.9, 0.82), (0.75, 0.15, 0.12), (0.3, 0.55, 0.35))
    parts = [_hull(_TRAM, "tram", tints[rng.integers(3)], "train"), *_wheels(_TRAM, "train")]
    parts.append(_screen(_TRAM.length - 0.12, _TRAM.half, 1.2, 2.35, "train"))
    joint = [box((0.5, 2.45, 2.75)).moved(x, 0, 0.35) for x in (-4.6, 4.6)]
    parts.append(Part(merge(joint), "plain", "train", (0.13, 0.13, 0.14)))
    arm = tube(np.array([[-1, 0, 3.2], [0.4, 0, 3.9], [-0.8, 0, 4.5]]), [0.05] * 3, 6)
    parts.append(Part(arm, "plain", "train", (0.2, 0.2, 0.2)))
    return Actor([*parts, *_lights(_TRAM.length, 1.1, 0.75, "train")], _TRAM.length, 2.45)


def person(rng: Rng, walking: bool = True) -> Actor:
    """Somebody on foot."""
    parts, limbs = _figure(rng, "person", seated=False, walking=walking)
    size = float(rng.uniform(0.62, 0.75) if rng.random() < 0.12 else rng.normal(1.0, 0.05))
    parts = [_resized(part, size) for part in parts]
    limbs = [
        Limb([_resized(p, size) for p in limb.parts], _times(limb.pivot, size), limb.swing,
             limb.phase) for limb in limbs
    ]  # fmt: skip
    return Actor(parts, 0.5, 0.6, limbs)


def bicycle(rng: Rng, ridden: bool) -> Actor:
    """A bicycle, with its rider or parked."""
    tint = PAINT[rng.integers(len(PAINT))]
    parts = _two_wheels(0.34, 0.54, 0.045, "spokes", "bicycle")
    points = [(-0.54, 0.34), (-0.15, 0.82), (0.42, 0.85), (-0.08, 0.32), (-0.15, 0.82)]
    frame = [
        tube(_flat([a, b]), [0.03] * 2, 6) for a, b in zip(points[:-1], points[1:], strict=True)
    ]
    frame += [tube(_flat([(0.54, 0.34), (0.4, 1.02)]), [0.03] * 2, 6)]
    frame += [
        tube(np.array([[0.38, -0.28, 1.03], [0.4, 0, 1.05], [0.38, 0.28, 1.03]]), [0.025] * 3)
    ]
    frame += [box((0.26, 0.14, 0.06)).moved(-0.18, 0, 0.88)]
    parts.append(Part(merge(frame), "plain", "bicycle", tint))
    return _with_rider(rng, parts, ridden, (-0.16, 0.93), 1.75)


def motorcycle(rng: Rng, ridden: bool) -> Actor:
    """A motorcycle or scooter, with its rider or parked."""
    tint = PAINT[rng.integers(len(PAINT))]
    parts = _two_wheels(0.31, 0.68, 0.14, TIRE, "motorcycle")
    tank = blob(rng, 0.05, 2).scaled(0.5, 0.17, 0.2).moved(0.15, 0, 0.78)
    seat = box((0.75, 0.26, 0.12)).moved(-0.35, 0, 0.74)
    engine = box((0.55, 0.3, 0.34)).moved(0, 0, 0.3)
    fork = tube(np.array([[0.68, 0, 0.31], [0.45, 0, 1.0]]), [0.06] * 2, 6)
    bar = tube(np.array([[0.38, -0.36, 1.05], [0.46, 0, 1.02], [0.38, 0.36, 1.05]]), [0.03] * 3)
    lamp = blob(rng, 0.0, 1).scaled(0.1, 0.1, 0.1).moved(0.6, 0, 0.92)
    parts += [Part(merge([tank]), "plain", "motorcycle", tint),
              Part(merge([seat, engine, fork, bar]), "plain", "motorcycle", (0.13, 0.13, 0.14)),
              Part(lamp, "plain", "motorcycle", *LIGHTS["front"])]  # fmt: skip
    return _with_rider(rng, parts, ridden, (-0.3, 0.84), 2.0)


def stranger(rng: Rng, size: tuple[float, float, float]) -> Actor:
    """An object that no training drive has, filling the box `size` (length, width, height), m."""
    kind: Callable[[Rng], list[tuple[Mesh, str, Tint]]] = (_beast, _heap, _barrels)[
        rng.integers(3)
    ]
    pieces = kind(rng)
    everything = merge([mesh for mesh, _, _ in pieces])
    low, high = everything.vertices.min(0), everything.vertices.max(0)
    factor = np.array(size) / (high - low)
    centre = (low + high) / 2
    parts = [
        Part(mesh.moved(-centre[0], -centre[1], -low[2]).scaled(*factor), texture, "unknown", tint)
        for mesh, texture, tint in pieces
    ]
    return Actor(parts, size[0], size[1])


def _beast(rng: Rng) -> list[tuple[Mesh, str, Tint]]:
    shade = float(rng.uniform(0.5, 1.0))
    legs = [tube(np.array([[x, y, 0], [x, y, 0.9]]), [0.07, 0.12], 8)
            for x in (-0.6, 0.6) for y in (-0.2, 0.2)]  # fmt: skip
    trunk = blob(rng, 0.05, 2, 1.0).scaled(1.0, 0.36, 0.45).moved(0, 0, 1.15)
    neck = tube(np.array([[0.8, 0, 1.2], [1.2, 0, 1.7]]), [0.22, 0.14], 10)
    head = blob(rng, 0.05, 2).scaled(0.32, 0.14, 0.16).moved(1.35, 0, 1.72)
    return [(merge([*legs, trunk, neck, head]), "hide", (shade, shade, shade))]


def _heap(rng: Rng) -> list[tuple[Mesh, str, Tint]]:
    pieces = []
    for x, y, z in ((-0.5, 0, 0), (0.5, 0.1, 0), (-0.1, -0.1, 0.8), (0.1, 0, 1.5)):
        crate = box((0.9, 0.8, 0.8), 0.8).moved(x, y, z, float(rng.normal(0, 0.2)))
        shade = float(rng.uniform(0.7, 1))
        pieces.append((crate, "fence0", (shade, shade * 0.85, shade * 0.6)))
    return pieces


def _barrels(rng: Rng) -> list[tuple[Mesh, str, Tint]]:
    tints: tuple[Tint, ...] = ((0.1, 0.45, 0.9), (0.95, 0.4, 0.05), (0.3, 0.75, 0.3))
    drum = tube(np.array([[0, 0, 0.0], [0, 0, 0.45], [0, 0, 0.9]]), [0.3, 0.33, 0.3], 16)
    places = ((-0.4, 0, 0), (0.4, 0, 0), (0, 0.35, 0), (0, 0.1, 0.92))
    return [(drum.moved(*p), "plain", tints[rng.integers(3)]) for p in places]


def _two_wheels(radius, reach, thickness, texture, label) -> list[Part]:
    wheel = disc(radius, thickness, 24)
    both = merge([wheel.moved(x, 0, radius) for x in (-reach, reach)])
    return [Part(both, texture, label)]


def _with_rider(rng, parts, ridden, saddle, length) -> Actor:
    if not ridden:
        return Actor(parts, length, 0.6)
    figure, _ = _figure(rng, "rider", seated=True, walking=False)
    moved = [
        Part(p.mesh.moved(saddle[0], 0, saddle[1] - 0.9), p.texture, p.label, p.tint)
        for p in figure
    ]
    return Actor([*parts, *moved], length, 0.6)


def _figure(rng: Rng, label: str, seated: bool, walking: bool) -> tuple[list[Part], list[Limb]]:
    """A human figure 1.75 m tall: trunk and head, and four limbs (parts of it when seated)."""
    skins = ((0.9, 0.72, 0.6), (0.62, 0.45, 0.34), (0.38, 0.26, 0.2))
    skin = skins[rng.integers(3)]
    coat, trousers = (PAINT[rng.integers(len(PAINT))] for _ in range(2))
    cloth = [f"cloth{i}" for i in rng.integers(0, 3, 2)]
    lean = 0.45 if seated else 0.04
    trunk = tube(
        np.array([[0, 0, 0.86], [lean * 0.4, 0, 1.1], [lean * 0.9, 0, 1.36], [lean, 0, 1.5]]),
        [0.14, 0.165, 0.18, 0.08], 10, 0.6,
    ).scaled(1.0, 1.22, 1.0)  # fmt: skip
    head = blob(rng, 0.03, 1).scaled(0.105, 0.085, 0.125).moved(lean + 0.02, 0, 1.63)
    hair = blob(rng, 0.05, 1).scaled(0.112, 0.095, 0.1).moved(lean - 0.012, 0, 1.68)
    dark = float(rng.uniform(0.05, 0.4))
    hat = (dark, dark * 0.8, dark * 0.6) if label == "person" else PAINT[rng.integers(9)]
    parts = [Part(trunk, cloth[0], label, coat), Part(head, "plain", label, skin),
             Part(hair, "plain", label, hat)]  # fmt: skip
    leg = tube(np.array([[0, 0, 0], [0.02, 0, -0.42], [0, 0, -0.84]]), [0.095, 0.075, 0.055], 8)
    foot = box((0.26, 0.1, 0.08)).moved(0.07, 0, -0.88)
    arm = tube(np.array([[0, 0, 0], [0, 0, -0.3], [0.05, 0, -0.56]]), [0.06, 0.05, 0.04], 8)
    if seated:
        for y in (-0.13, 0.13):
            bent = np.array([[0, y, 0.9], [0.38, y, 0.78], [0.3, y, 0.4]])
            parts.append(Part(tube(bent, [0.1, 0.08, 0.06], 8), cloth[1], label, trousers))
            reach = np.array([[lean, y * 1.5, 1.42], [0.5, y * 1.9, 1.2], [0.72, y * 2, 1.12]])
            parts.append(Part(tube(reach, [0.06, 0.05, 0.045], 8), cloth[0], label, coat))
        return parts, []
    limbs, phase = [], float(rng.uniform(0, 2 * np.pi))
    swing = 0.5 if walking else 0.03
    for y, opposite in ((-0.1, 0.0), (0.1, np.pi)):
        shoe = Part(foot, "plain", label, (0.1, 0.09, 0.09))
        legs = [Part(leg, cloth[1], label, trousers), shoe]
        limbs.append(Limb(legs, (0, y, 0.92), swing, phase + opposite))
        sleeve = [Part(arm, cloth[0], label, coat)]
        limbs.append(Limb(sleeve, (lean, y * 2.3, 1.42), swing * 0.8, phase + opposite + np.pi))
    return parts, limbs


def _flat(points: list[tuple[float, float]]) -> np.ndarray:
    return np.array([[x, 0.0, z] for x, z in points])


def _times(point: tuple[float, float, float], k: float) -> tuple[float, float, float]:
    return point[0] * k, point[1] * k, point[2] * k


def _resized(part: Part, k: float) -> Part:
    return Part(part.mesh.scaled(k, k, k), part.texture, part.label, part.tint, part.glow)
