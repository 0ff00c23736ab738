"""One drive from one seed: draw it, render its frames, write them in Cityscapes' layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emu_core.data.cityscapes import FrameFiles, encode_disparity, write_png
from emu_core.drives import actors, conditions, street, traffic
from emu_core.drives.scene import Scene
from emu_core.ground_truth import BASELINE

MASK = "gtFine_object.png"
"""Suffix of the `unknown` split's masks: 255 on the object that was put into the scene."""

FLIP = {"day": None, "haze": conditions.dense_haze, "night": conditions.at_night}


@dataclass(frozen=True)
class DriveSpec:
    """What makes a drive: its split, seed, length and condition.

    `intruder` is None, "unknown" (an object that no training drive has) or "known" (an ordinary
    one of the same size at the same place). `first` renders only so many frames of the drive.
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

    @property
    def files(self) -> list[FrameFiles]:
        """Names of the frames; the two drives of a pair differ in their sequence number."""
        sequence = 1 if self.intruder == "known" else 0
        city = f"{self.split}{self.seed}"
        return [
            FrameFiles(Path(), self.split, f"{city}_{sequence:06d}_{i:06d}")
            for i in range(min(self.frames, self.first or self.frames))
        ]


def scene(spec: DriveSpec) -> Scene:
    """Draw the drive of a specification. The same seed gives the same drive."""
    rng = np.random.default_rng(spec.seed)
    duration = spec.frames * spec.interval
    speed = float(rng.uniform(5, 11))
    start, end = -35.0, speed * duration + street.VIEW
    path = street.Path(rng, start - 40, end + 60)
    layout = street.draw_layout(rng, end)
    scenery = street.build(rng, layout, path, start, end)
    ego = traffic.draw_ego(rng, layout, duration, speed)
    movers = traffic.populate(rng, layout, ego, end)
    camera = conditions.draw_camera(rng, spec.width, spec.height)
    day = conditions.draw_conditions(rng)
    change = FLIP[spec.condition]
    weather = change(rng, day) if change else day
    if spec.intruder:
        movers = _intrude(rng, movers, ego, layout, spec.intruder)
    return Scene(scenery, movers, ego, camera, weather)


def _intrude(rng, movers, ego, layout, kind: str) -> list[traffic.Mover]:
    """Put an object onto the road or its edge, in view of every frame, and clear its place."""
    known = actors.car(rng) if rng.random() < 0.5 else actors.motorcycle(rng, False)
    vertices = np.concatenate([part.mesh.vertices for part in known.parts])
    low, high = vertices.min(0), vertices.max(0)
    size = tuple(float(v) for v in high - low)
    s = ego.s(ego.duration) + rng.uniform(9, 24)
    side = -1 if rng.random() < 0.7 else 1
    d = ego.d + side * rng.uniform(0.2, 2.6) - (0.6 if side < 0 else 0)
    d = float(np.clip(d, -layout.edge(1) + 0.6, layout.edge(0) - 0.6))
    heading = float(rng.choice([0.0, np.pi / 2, np.pi]) + rng.normal(0, 0.2))
    stranger = actors.stranger(rng, size)  # drawn in both drives of a pair, so that seeds agree
    actor = stranger if kind == "unknown" else known
    free = [
        mover for mover in movers
        if not _meets(mover, s, d, size[0], ego.duration) and not _hides(mover, ego, s, d)
    ]  # fmt: skip
    return [*free, traffic.Mover(actor, s, d, heading=heading, name="intruder")]


def _meets(mover: traffic.Mover, s: float, d: float, length: float, duration: float) -> bool:
    time = np.linspace(0, duration, 32)
    ms, md = mover.at(time)
    reach = (mover.actor.length + length) / 2 + 1.0
    return bool(np.any((np.abs(ms - s) < reach) & (np.abs(md - d) < mover.actor.width / 2 + 2.5)))


def _hides(mover: traffic.Mover, ego: traffic.Ego, s: float, d: float) -> bool:
    time = np.linspace(0, ego.duration, 32)
    ms, md = mover.at(time)
    between = (ms > ego.speed * time) & (ms < s)
    return bool(np.any(between & (np.abs(md - (ego.d + d) / 2) < 3.0)))


def render(spec: DriveSpec, root: Path, progress: Callable[[], None] = lambda: None) -> int:
    """Render a drive into `root`, skipping frames that are complete on disk.

    Returns:
        How many frames were rendered.
    """
    files = [replace(f, root=root) for f in spec.files]
    missing = [i for i, f in enumerate(files) if not f.path("camera").is_file()]
    for _ in range(len(files) - len(missing)):
        progress()
    if not missing:
        return 0
    with scene(spec) as drawn:
        for i in missing:
            frame = drawn.frame(i * spec.interval, np.random.default_rng([spec.seed, i]))
            _write(files[i], frame, drawn, spec)
            progress()
    return len(missing)


def _write(files: FrameFiles, frame, drawn: Scene, spec: DriveSpec) -> None:
    """Write one frame; the camera file comes last and marks it complete."""
    camera = drawn.camera
    write_png(files.path("leftImg8bit"), frame.image)
    write_png(files.path("gtFine"), frame.label_ids)
    write_png(files.path("disparity"), encode_disparity(frame.depth, camera.focal, BASELINE))
    if spec.intruder:
        write_png(files.path("gtFine", MASK), drawn.mask("intruder"))
    u0, v0 = camera.centre
    content = {
        "extrinsic": {
            "baseline": BASELINE, "pitch": camera.pitch, "roll": camera.roll, "yaw": camera.yaw,
            "x": 0.0, "y": 0.0, "z": camera.mount_height,
        },
        "intrinsic": {"fx": camera.focal, "fy": camera.focal, "u0": u0, "v0": v0},
    }  # fmt: skip
    path = files.path("camera")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.rename(path)
