"""One drive from one seed: the street, who is in it, the camera's course, light and weather.

Drawing needs NumPy and OpenCV only; `scene` renders what is drawn, `files` writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emu_core.drives.conditions import (
    Camera,
    Conditions,
    at_night,
    dense_haze,
    draw_camera,
    draw_conditions,
)
from emu_core.drives.layout import VIEW, Rng, draw_layout, draw_path
from emu_core.drives.objects import intruders as intruder
from emu_core.drives.objects import textures, vehicles
from emu_core.drives.objects.intruders import HIDE, paint_hide
from emu_core.drives.objects.people import CLOTHS
from emu_core.drives.objects.scenery import Scenery
from emu_core.drives.street import build
from emu_core.drives.traffic import Ego, Mover, draw_ego, populate

Change = Callable[[Rng, Conditions], Conditions]

WEATHER: dict[str, Change | None] = {"day": None, "haze": dense_haze, "night": at_night}
"""Condition → what it changes of an ordinary day."""

INTRUDERS = (None, "unknown", "known")

_BEHIND = 35.0
"""Metres of street that are built behind the camera's first place."""


@dataclass(frozen=True)
class DriveSpec:
    """What makes a drive: its split, seed, length and condition.

    `interval` is the time between frames, seconds. `condition` is day, haze or night. `intruder`
    is None, "unknown" (an object that no training drive has) or "known" (an ordinary one of the
    same size at the same place). `first` renders only so many frames of the drive.

    Raises:
        ValueError: a value that no drive can have.
    """

    split: str
    seed: int
    frames: int
    interval: float
    condition: str = "day"
    intruder: str | None = None
    first: int | None = None
    width: int = 1024
    height: int = 512

    def __post_init__(self) -> None:
        where = f"Drive {self.seed} of split {self.split}:"
        if self.condition not in WEATHER:
            raise ValueError(
                f"{where} expected condition {' or '.join(WEATHER)}, but got {self.condition!r}."
            )
        if self.intruder not in INTRUDERS:
            raise ValueError(
                f"{where} expected intruder None, 'unknown' or 'known', but got {self.intruder!r}."
            )
        for name in ("frames", "interval", "width", "height"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{where} expected a positive {name}, but got {getattr(self, name)!r}."
                )

    @property
    def count(self) -> int:
        """How many frames are rendered."""
        return min(self.frames, self.first or self.frames)


@dataclass(frozen=True)
class Drive:
    """Everything that a renderer needs to know of a drive.

    `textures` are RGB uint8 (H,W,3) by the names that parts give. `intruder` is the object of the
    `unknown` split or its known twin; it is none of the `movers`.
    """

    scenery: Scenery
    movers: list[Mover]
    intruder: Mover | None
    ego: Ego
    camera: Camera
    conditions: Conditions
    textures: dict[str, np.ndarray]


def draw(spec: DriveSpec) -> Drive:
    """Draw the drive of a specification. The same seed gives the same drive."""
    rng = np.random.default_rng(spec.seed)
    duration = spec.frames * spec.interval
    speed = float(rng.uniform(5, 11))
    start, end = -_BEHIND, speed * duration + VIEW
    path = draw_path(rng, start - 40, end + 60)
    layout = draw_layout(rng, end)
    scenery = build(rng, layout, path, start, end)
    ego = draw_ego(rng, layout, duration, speed)
    movers = populate(rng, layout, ego, end)
    camera = draw_camera(rng, spec.width, spec.height)
    weather = draw_conditions(rng)
    change = WEATHER[spec.condition]
    if change:
        weather = change(rng, weather)
    placed = None
    if spec.intruder:
        pair = intruder.draw_intruder(rng, ego, layout)
        placed = pair.unknown if spec.intruder == "unknown" else pair.known
        movers = intruder.make_room(movers, pair, ego)
    images = {**scenery.textures, **_paint_actors(rng)}
    return Drive(scenery, movers, placed, ego, camera, weather, images)


def _paint_actors(rng: Rng) -> dict[str, np.ndarray]:
    """The textures that actors name."""
    images = vehicles.paint(rng)
    images[vehicles.WHEEL] = textures.wheel(rng)
    images["spokes"] = textures.wheel(rng, spokes=True)
    for i in range(CLOTHS):
        images[f"cloth{i}"] = textures.cloth(rng)
    images["cargo"] = vehicles.paint_cargo(rng)
    images[HIDE] = paint_hide(rng)
    return images
