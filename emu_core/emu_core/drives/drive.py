"""Generate one drive from one seed: street, traffic, path of the camera, light and weather.

This needs no renderer: `scene` renders the drive, `files` writes it. "Draw" means "draw at random"
in this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emu_core.drives import conditions
from emu_core.drives.conditions import Conditions, PinholeCamera
from emu_core.drives.layout import VIEW, Rng, draw_layout, draw_path
from emu_core.drives.objects import intruders, textures, vehicles
from emu_core.drives.objects.people import CLOTHS
from emu_core.drives.objects.scenery import Scenery
from emu_core.drives.street import build_street
from emu_core.drives.traffic import Ego, Mover, draw_ego, populate

WEATHER: dict[str, Callable[[Rng, Conditions], Conditions]] = {
    "day": lambda _, day: day,
    "haze": conditions.dense_haze,
    "night": conditions.at_night,
}
"""Condition → function that changes an ordinary day."""

INTRUDERS = (None, "unknown", "known")
_BEHIND = 35.0  # length of street behind the first camera position, metres
_BEHIND_AROUND = 120.0  # the same if the camera may look back


@dataclass(frozen=True)
class DriveSpec:
    """Specification of a drive; its images have `width` × `height` pixels.

    `interval` is the time between frames, seconds. `condition` is day, haze or night. `intruder`
    is None, "unknown" (an object that no training drive contains) or "known" (an ordinary object
    of the same size at the same place). `first` limits the number of rendered frames. With
    `around`, the camera looks in any direction, not only ahead.

    Raises:
        ValueError: a value is out of range.
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
    around: bool = False

    def __post_init__(self) -> None:
        problems = {
            f"condition {' or '.join(WEATHER)}": (self.condition, self.condition in WEATHER),
            "intruder None, 'unknown' or 'known'": (self.intruder, self.intruder in INTRUDERS),
        }
        for name in ("frames", "interval", "width", "height"):
            problems[f"a positive {name}"] = (getattr(self, name), getattr(self, name) > 0)
        for expected, (value, valid) in problems.items():
            if not valid:
                where = f"Drive {self.seed} of split {self.split}"
                raise ValueError(f"{where}: expected {expected}, but got {value!r}.")

    @property
    def count(self) -> int:
        """Number of frames to render."""
        return min(self.frames, self.first or self.frames)


@dataclass(frozen=True)
class Drive:
    """Everything that a renderer needs of a drive.

    `textures` are RGB uint8 (H,W,3) by the names that parts refer to. `intruder` is an unknown
    object or its known twin; `movers` does not contain it.
    """

    scenery: Scenery
    movers: list[Mover]
    intruder: Mover | None
    ego: Ego
    camera: PinholeCamera
    conditions: Conditions
    textures: dict[str, np.ndarray]


def draw(spec: DriveSpec) -> Drive:
    """Generate the drive of a specification; the same seed gives the same drive."""
    rng = np.random.default_rng(spec.seed)
    duration = spec.frames * spec.interval
    speed = float(rng.uniform(5, 11))
    start, end = -(_BEHIND_AROUND if spec.around else _BEHIND), speed * duration + VIEW
    path = draw_path(rng, start - 40, end + 60)
    layout = draw_layout(rng, end)
    scenery = build_street(rng, layout, path, start, end)
    ego = draw_ego(rng, layout, duration, speed)
    movers = populate(rng, layout, ego, end)
    camera = conditions.draw_camera(rng, spec.width, spec.height)
    if spec.around:
        camera = conditions.look_around(rng, camera)
    weather = WEATHER[spec.condition](rng, conditions.draw_conditions(rng))
    intruder = None
    if spec.intruder:
        pair = intruders.draw_intruder(rng, ego, layout)
        intruder = pair[spec.intruder]
        movers = intruders.make_room(movers, pair["unknown"], ego)
    images = {**scenery.textures, **vehicles.paint(rng), vehicles.WHEEL: textures.wheel(rng)}
    images["spokes"] = textures.wheel(rng, spokes=True)
    images |= {f"cloth{i}": textures.cloth(rng) for i in range(CLOTHS)}
    images["cargo"] = vehicles.paint_cargo(rng)
    images[intruders.HIDE] = intruders.paint_hide(rng)
    return Drive(scenery, movers, intruder, ego, camera, weather, images)
