"""Reduced copies of drives in Cityscapes' layout, the drives of the pre-training apart.

Images are averaged, ground truth takes the nearest pixel. The disparity's code stays as it is: the
copy's camera has a focal length that much shorter and a baseline that much longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from emu_core.data.choice import choose
from emu_core.data.cityscapes import (
    OBJECT_MASK,
    FrameFiles,
    list_frames,
    read_camera,
    read_png,
    write_png,
)
from emu_core.evaluation.store import write_json
from emu_core.study.config import Copies


def copy_drives(copies: Copies, splits: Iterable[str], apart: Path, rest: Path) -> int:
    """Copy splits; what is there already stays.

    Args:
        copies: from where, how large, and how many drives of train go into `apart`.
        splits: names of all splits to copy; train is divided, `apart` also gets val.
        apart: root of the copies for pre-training.
        rest: root of all others.

    Returns:
        How many frames were written.

    Raises:
        DataError: the drives are missing or damaged.
    """
    jobs: list[tuple[FrameFiles, FrameFiles]] = []
    for split in splits:
        frames = list_frames(copies.source, split)
        chosen: set[int] = set()
        if split == "train":
            chosen = set(choose([f.name for f in frames], None, copies.pretraining_drives))
        for i, frame in enumerate(frames):
            roots = [apart if i in chosen else rest] + [apart] * (split == "val")
            jobs += [(frame, FrameFiles(root, split, frame.name)) for root in roots]
    missing = [job for job in jobs if not job[1].path("camera").is_file()]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(_copy, old, new, copies.width) for old, new in missing]:
            done.result()
    return len(missing)


def _copy(source: FrameFiles, target: FrameFiles, width: int) -> None:
    image = read_png(source.path("leftImg8bit"), cv2.IMREAD_COLOR)[..., ::-1]
    ratio = min(width / image.shape[1], 1.0)
    size = (round(image.shape[1] * ratio), round(image.shape[0] * ratio))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    write_png(target.path("leftImg8bit"), small)
    for folder, suffix in (("gtFine", None), ("disparity", None), ("gtFine", OBJECT_MASK)):
        path = source.path(folder, suffix)
        if suffix is None or path.is_file():
            truth = read_png(path, cv2.IMREAD_UNCHANGED)
            nearest = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
            write_png(target.path(folder, suffix), nearest)
    # Last: it marks a frame as complete.
    write_json(target.path("camera"), _camera(source.path("camera"), ratio))


def _camera(path: Path, ratio: float) -> dict:
    camera = read_camera(path)
    intrinsic = {
        "fx": camera.fx * ratio,
        "fy": camera.fy * ratio,
        "u0": (camera.u0 + 0.5) * ratio - 0.5,
        "v0": (camera.v0 + 0.5) * ratio - 0.5,
    }
    return {"intrinsic": intrinsic, "extrinsic": {"baseline": camera.baseline / ratio}}
