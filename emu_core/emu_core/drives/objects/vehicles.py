"""Cars, trucks, buses and trams."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from emu_core.drives.layout import Rng
from emu_core.drives.objects import textures
from emu_core.drives.objects.meshes import box, disc, loft, merge, tube
from emu_core.drives.objects.shapes import HEADLIGHT, PAINT, TAILLIGHT, Actor, Part, Tint

WHEEL = "wheel"
"""Texture of the side of a wheel."""


@dataclass(frozen=True)
class _Body:
    """Shape of a vehicle body in metres; positions u run from the rear (0) to the front (1).

    `half` is half the width, `wheel` a wheel's radius, `belt` the height of the lower edge of the
    windows, `bottom` that of the sill. `cabin` is the start and end of the rear window and of the
    windscreen (u), `axles` the positions of the wheels (u). The outline of the roof has the
    positions `roof_u` and the heights `roof_z`.
    """

    length: float
    half: float
    wheel: float
    belt: float
    cabin: tuple[float, float, float, float]
    roof_u: tuple[float, ...]
    roof_z: tuple[float, ...]
    axles: tuple[float, ...] = (0.19, 0.81)
    bottom: float = 0.24


_CARS = {
    "sedan": _Body(
        *(4.6, 0.9, 0.32, 0.9, (0.15, 0.28, 0.56, 0.69)),
        roof_u=(0, 0.015, 0.14, 0.29, 0.4, 0.54, 0.7, 0.95, 0.985, 1),
        roof_z=(0.6, 0.86, 0.95, 1.38, 1.45, 1.43, 0.98, 0.8, 0.68, 0.5),
    ),
    "hatch": _Body(
        *(4.0, 0.87, 0.31, 0.94, (0.03, 0.1, 0.53, 0.69)),
        roof_u=(0, 0.02, 0.1, 0.2, 0.5, 0.7, 0.94, 0.98, 1),
        roof_z=(0.65, 0.98, 1.4, 1.49, 1.48, 1.02, 0.84, 0.7, 0.5),
    ),
    "suv": _Body(
        *(4.6, 0.95, 0.37, 1.08, (0.025, 0.08, 0.54, 0.67)),
        roof_u=(0, 0.015, 0.08, 0.2, 0.52, 0.68, 0.95, 0.985, 1),
        roof_z=(0.7, 1.12, 1.6, 1.7, 1.68, 1.16, 1.02, 0.85, 0.6),
        bottom=0.3,
    ),
    "van": _Body(
        *(5.2, 0.98, 0.34, 1.15, (0.0, 0.008, 0.7, 0.83)),
        roof_u=(0, 0.01, 0.03, 0.3, 0.68, 0.84, 0.97, 0.99, 1),
        roof_z=(0.6, 1.85, 1.98, 2.02, 1.98, 1.2, 0.98, 0.8, 0.5),
    ),
}
_BUS = _Body(
    *(11.5, 1.26, 0.48, 1.25, (0.0, 0.01, 0.986, 0.995)),
    roof_u=(0, 0.004, 0.012, 0.5, 0.985, 0.995, 1),
    roof_z=(1.0, 2.85, 3.0, 3.05, 3.0, 1.4, 0.5),
    axles=(0.27, 0.78),
    bottom=0.32,
)
_TRAM = _Body(
    *(26.0, 1.2, 0.34, 1.35, (0.0, 0.028, 0.972, 0.99)),
    roof_u=(0, 0.012, 0.03, 0.5, 0.97, 0.988, 1),
    roof_z=(0.8, 2.4, 3.2, 3.3, 3.2, 2.4, 0.8),
    axles=(0.12, 0.5, 0.88),
    bottom=0.25,
)
_CAB = _Body(
    *(2.2, 1.2, 0.46, 1.5, (0.0, 0.005, 0.87, 0.955)),
    roof_u=(0, 0.01, 0.5, 0.86, 0.96, 1),
    roof_z=(0.8, 2.6, 2.75, 2.55, 1.5, 0.6),
    axles=(0.55,),
    bottom=0.4,
)

SHINY = frozenset({*_CARS, "bus", "tram", "cab"})
"""Textures of glossy bodies."""

_BOXY = 8.0
"""Bodies longer than this have straight sides and a wide roof, metres."""


def paint(rng: Rng) -> dict[str, np.ndarray]:
    """Paint the textures of all bodies."""
    bodies = {name: _body_texture(rng, body) for name, body in _CARS.items()}
    bodies["bus"] = _body_texture(rng, _BUS, 9)
    bodies["tram"] = _body_texture(rng, _TRAM, 16)
    bodies["cab"] = _body_texture(rng, _CAB, 1)
    return bodies


def _body_texture(rng: Rng, body: _Body, panes: int = 2) -> np.ndarray:
    """Paint windows, doors and sills in the coordinates of the hull: columns u, rows v.

    128 rows × 512 columns; the windows of the two sides are rows 34…47 and 80…93, the roof is
    between them.
    """
    image = np.full((128, 512, 3), 236, np.float32)
    glass = np.array([34.0, 40.0, 46.0])
    rear0, rear1, front0, front1 = (round(512 * u) for u in body.cabin)
    sheen = np.linspace(1.7, 0.8, 14)[:, None, None]
    edges = np.linspace(rear1 - 8, front0 + 14, panes + 1).astype(int)
    for x0, x1 in pairwise(edges):
        image[34:48, x0 + 4 : x1 - 4] = glass * sheen[::-1]
        image[80:94, x0 + 4 : x1 - 4] = glass * sheen
    image[36:92, rear0 : max(rear1, rear0 + 2)] = glass * 1.2
    image[36:92, front0:front1] = glass * 1.4
    for x in np.linspace(rear1 + 10, front0 + 10, panes + 1).astype(int):  # doors, handles
        image[6:34, x : x + 2] *= 0.55
        image[94:122, x : x + 2] *= 0.55
        image[28:31, x - 14 : x - 6] *= 0.5
        image[97:100, x - 14 : x - 6] *= 0.5
    image[:7] *= 0.3  # sills
    image[121:] *= 0.3
    dirt = textures.noise(rng, 512, 16)[:128]
    return textures.finish(textures.paint(image, dirt, 0.015))[::-1]


def paint_cargo(rng: Rng) -> np.ndarray:
    """Paint the side of a truck's box: ribs, sometimes with a coloured band."""
    image = textures.paint((228, 228, 226), textures.noise(rng, 128, 8), 0.03)
    image[:, ::16] *= 0.88
    if rng.random() < 0.7:
        band = rng.integers(30, 60)
        color = np.array(textures.jitter(rng, (90, 130, 190), 0.4))
        image[band : band + 34, 20:108] *= color / 255
    return textures.finish(image)


def _hull(body: _Body, texture: str, tint: Tint, label: str, x: float = 0.0) -> Part:
    """Make the body as a hull: sill, waist, belt and roof on both sides of a ridge."""
    fine = np.unique(np.concatenate([np.array(body.roof_u), np.linspace(0, 1, 24)]))
    top = np.interp(fine, np.array(body.roof_u), np.array(body.roof_z))
    belt = np.minimum(top - 0.02, body.belt)
    taper = 1 - 0.1 * np.clip((np.abs(fine - 0.5) - 0.38) / 0.12, 0, 1) ** 2
    if body.length > _BOXY:
        taper = np.ones_like(fine)
    half = body.half * taper
    cabin = np.clip((top - body.belt) / 0.5, 0, 1)
    narrow = 0.06 if body.length > _BOXY or body is _CAB else 0.2
    roof = half * (1 - 0.04 - narrow * cabin)
    low = np.full_like(fine, body.bottom)
    waist = np.minimum(0.5 * (body.bottom + body.belt), belt)
    right = [(-half * 0.96, low), (-half, waist), (-half * 0.99, belt), (-roof, top)]
    middle = [(np.zeros_like(fine), top + 0.03)]
    left = [(-y, z) for y, z in reversed(right)]
    sections = np.stack([np.stack(p, -1) for p in [*right, *middle, *left]], 1)
    mesh = loft((fine - 0.5) * body.length, sections).moved(x=x)
    return Part(mesh, texture, label, tint)


def _wheels(
    length: float, half: float, radius: float, axles: tuple[float, ...], label: str, x: float = 0.0
) -> Part:
    places = [((u - 0.5) * length + x, side * (half - 0.09)) for u in axles for side in (-1, 1)]
    wheel = disc(radius, 0.24)
    return Part(merge([wheel.moved(px, y, radius) for px, y in places]), WHEEL, label)


def _wheels_of(body: _Body, label: str, x: float = 0.0) -> Part:
    return _wheels(body.length, body.half, body.wheel, body.axles, label, x)


def _lights(length: float, half: float, height: float, label: str) -> list[Part]:
    """Make headlights, tail lights and number plates."""
    parts = []
    for (tint, glow), sign in ((HEADLIGHT, 1), (TAILLIGHT, -1)):
        lamp = box((0.06, half * 0.36, 0.15))
        pair = [lamp.moved(sign * (length / 2 - 0.03), y * half * 0.72, height) for y in (-1, 1)]
        parts.append(Part(merge(pair), "plain", label, tint, glow))
    plate = box((0.03, 0.5, 0.12))
    ends = [plate.moved(sign * length / 2, 0, height - 0.25) for sign in (-1, 1)]
    return [*parts, Part(merge(ends), "plain", label, (0.9, 0.9, 0.85))]


def _screen(
    length: float, half: float, span: tuple[float, float], label: str, x: float = 0.0
) -> Part:
    """Make a flat windscreen on the front of a boxy body; `span` is its lower and upper edge."""
    low, high = span
    pane = box((0.06, half * 1.66, high - low)).moved(length / 2 - 0.02 + x, 0, low)
    return Part(pane, "plain", label, (0.12, 0.14, 0.16))


def car(rng: Rng) -> Actor:
    """Draw a sedan, hatchback, SUV or van; all have the class car in Cityscapes."""
    style = str(rng.choice(list(_CARS), p=[0.34, 0.32, 0.22, 0.12]))
    body, tint = _CARS[style], PAINT[rng.integers(len(PAINT))]
    parts = [_hull(body, style, tint, "car"), _wheels_of(body, "car")]
    parts += _lights(body.length, body.half, min(body.roof_z[-2], 0.7), "car")
    size = float(rng.normal(1, 0.03))
    return Actor([p.resized(size) for p in parts], body.length * size, 2 * body.half * size)


def truck(rng: Rng) -> Actor:
    """Draw a truck: a cab with a box or a flat bed behind it."""
    long, tint = float(rng.uniform(4.0, 7.0)), PAINT[rng.integers(len(PAINT))]
    shift, back = long / 2, -_CAB.length / 2
    parts = [
        _hull(_CAB, "cab", tint, "truck", shift),
        _wheels_of(_CAB, "truck", shift - 0.2),
        _screen(_CAB.length - 0.04, _CAB.half, (1.5, 2.2), "truck", shift),
    ]
    bed = box((long, 2.3, 0.3)).moved(back, 0, 0.75)
    parts.append(Part(bed, "plain", "truck", (0.2, 0.2, 0.22)))
    cargo_tint = PAINT[rng.integers(len(PAINT))] if rng.random() < 0.5 else (0.95, 0.95, 0.93)
    high = float(rng.uniform(1.9, 2.7)) if rng.random() < 0.8 else 0.6
    cargo = box((long, 2.45, high)).moved(back, 0, 1.05)
    parts.append(Part(cargo, "cargo", "truck", cargo_tint))
    axles = (0.15, 0.3) if long > 5.5 else (0.2,)
    parts.append(_wheels(long, _CAB.half, _CAB.wheel, axles, "truck", back))
    total = long + _CAB.length
    return Actor([*parts, *_lights(total, 1.15, 0.75, "truck")], total, 2.45)


def bus(rng: Rng) -> Actor:
    """Draw a city bus."""
    tints = ((0.85, 0.7, 0.15), (0.7, 0.12, 0.12), (0.9, 0.9, 0.88), (0.15, 0.3, 0.6))
    parts = [_hull(_BUS, "bus", tints[rng.integers(4)], "bus"), _wheels_of(_BUS, "bus")]
    parts.append(_screen(_BUS.length, _BUS.half, (1.15, 2.5), "bus"))
    board = box((0.05, 1.6, 0.28)).moved(_BUS.length / 2 - 0.04, 0, 2.6)
    parts.append(Part(board, "plain", "bus", (0.95, 0.6, 0.1), 0.3))
    return Actor([*parts, *_lights(_BUS.length, 1.2, 0.6, "bus")], _BUS.length, 2 * _BUS.half)


def tram(rng: Rng) -> Actor:
    """Draw a tram; its class in Cityscapes is train."""
    tints = ((0.92, 0.9, 0.82), (0.75, 0.15, 0.12), (0.3, 0.55, 0.35))
    parts = [_hull(_TRAM, "tram", tints[rng.integers(3)], "train"), _wheels_of(_TRAM, "train")]
    parts.append(_screen(_TRAM.length - 0.12, _TRAM.half, (1.2, 2.35), "train"))
    joint = [box((0.5, 2.45, 2.75)).moved(x, 0, 0.35) for x in (-4.6, 4.6)]
    parts.append(Part(merge(joint), "plain", "train", (0.13, 0.13, 0.14)))
    arm = tube(np.array([[-1, 0, 3.2], [0.4, 0, 3.9], [-0.8, 0, 4.5]]), [0.05] * 3, 6)
    parts.append(Part(arm, "plain", "train", (0.2, 0.2, 0.2)))
    return Actor([*parts, *_lights(_TRAM.length, 1.1, 0.75, "train")], _TRAM.length, 2.45)
