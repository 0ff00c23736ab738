"""Writes a drive's frames in Cityscapes' layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from emu_core.bags.ground_truth import BASELINE
from emu_core.data.cityscapes import OBJECT_MASK, FrameFiles, encode_disparity, write_png
from emu_core.drives.conditions import Camera
from emu_core.drives.drive import DriveSpec, draw
from emu_core.drives.scene import Frame, Scene


def frame_files(spec: DriveSpec, root: Path) -> list[FrameFiles]:
    """The frames of a drive by name; the two drives of a pair differ in their sequence number."""
    sequence = 1 if spec.intruder == "known" else 0
    drive = f"{spec.split}{spec.seed}_{sequence:06d}"
    return [FrameFiles(root, spec.split, f"{drive}_{i:06d}") for i in range(spec.count)]


def render(spec: DriveSpec, root: Path, progress: Callable[[], None] = lambda: None) -> int:
    """Render a drive into `root`, skipping frames that are complete on disk.

    Args:
        spec: the drive.
        root: the folder that gets `leftImg8bit` and its siblings.
        progress: called once per frame, skipped ones included.

    Returns:
        How many frames were rendered.

    Raises:
        RenderingError: rendering is impossible here.
        OSError: a file cannot be written.
    """
    files = frame_files(spec, root)
    missing = [i for i, frame in enumerate(files) if not frame.path("camera").is_file()]
    for _ in range(len(files) - len(missing)):
        progress()
    if not missing:
        return 0
    with Scene(draw(spec)) as scene:
        for i in missing:
            frame = scene.frame(i * spec.interval, np.random.default_rng([spec.seed, i]))
            write(files[i], frame, scene.drive.camera, with_mask=spec.intruder is not None)
            progress()
    return len(missing)


def write(files: FrameFiles, frame: Frame, camera: Camera, with_mask: bool = False) -> None:
    """Write one frame; the camera file comes last and marks it complete."""
    write_png(files.path("leftImg8bit"), frame.image)
    write_png(files.path("gtFine"), frame.label_ids)
    write_png(files.path("disparity"), encode_disparity(frame.depth, camera.focal, BASELINE))
    if with_mask:
        write_png(files.path("gtFine", OBJECT_MASK), frame.intruder)
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
