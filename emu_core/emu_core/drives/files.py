"""Write the frames of a drive in Cityscapes' layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from emu_core.bags.ground_truth import BASELINE
from emu_core.data.cityscapes import OBJECT_MASK, FrameFiles, encode_disparity, write_png
from emu_core.drives.conditions import PinholeCamera
from emu_core.drives.drive import DriveSpec, draw
from emu_core.drives.scene import RenderedFrame, Scene
from emu_core.files import write_text


def frame_files(spec: DriveSpec, root: Path) -> list[FrameFiles]:
    """List the frames of a drive; the sequence number is 1 for a known intruder, else 0."""
    sequence = 1 if spec.intruder == "known" else 0
    drive = f"{spec.split}{spec.seed}_{sequence:06d}"
    return [FrameFiles(root, spec.split, f"{drive}_{i:06d}") for i in range(spec.count)]


def render(spec: DriveSpec, root: Path, progress: Callable[[], None] = lambda: None) -> int:
    """Render a drive into `root`, skipping frames that are complete on disk.

    Args:
        spec: the drive.
        root: folder for `leftImg8bit`, `gtFine`, `disparity` and `camera`.
        progress: called once per frame, also for skipped frames.

    Returns:
        Number of rendered frames.

    Raises:
        RenderingError: rendering is impossible on this machine.
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


def write(
    files: FrameFiles, frame: RenderedFrame, camera: PinholeCamera, with_mask: bool = False
) -> None:
    """Write one frame; the camera file comes last and marks the frame as complete."""
    write_png(files.path("leftImg8bit"), frame.image)
    write_png(files.path("gtFine"), frame.label_ids)
    write_png(files.path("disparity"), encode_disparity(frame.depth, camera.focal, BASELINE))
    if with_mask:
        write_png(files.path("gtFine", OBJECT_MASK), frame.intruder)
    angles = {"pitch": camera.pitch, "roll": camera.roll, "yaw": camera.yaw}
    place = {"x": 0.0, "y": 0.0, "z": camera.mount_height}
    u0, v0 = camera.centre
    content = {
        "extrinsic": {"baseline": BASELINE, **angles, **place},
        "intrinsic": {"fx": camera.focal, "fy": camera.focal, "u0": u0, "v0": v0},
    }
    write_text(files.path("camera"), json.dumps(content, indent=1))
