"""Reduced copies of drives in Cityscapes' layout, the drives of the pre-training apart.

Images are averaged, ground truth takes the nearest pixel. The disparity's code stays as it is: the
copy's camera has a focal length that much shorter and a baseline that much longer. A list beside
them says how they were made, so that copies of other settings or other drives are never mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from emu_core.data.cityscapes import (
    OBJECT_MASK,
    FrameFiles,
    list_frames,
    read_camera,
    read_png,
    write_png,
)
from emu_core.data.datasets import choose
from emu_core.data.sample import DataError
from emu_core.evaluation.store import read_json, write_json
from emu_core.study.config import Copies

MANIFEST = "copies.json"
"""Beside the copies: their settings, and of each split every drive with its number of frames."""


def copy_drives(copies: Copies, splits: Iterable[str], apart: Path, rest: Path) -> int:
    """Copy splits; what is there already stays.

    Args:
        copies: from where, how large, and how many drives of train go into `apart`.
        splits: names of all splits to copy; train is divided, `apart` also gets val.
        apart: root of the copies for pre-training.
        rest: root of all others; `MANIFEST` lies beside it.

    Returns:
        How many frames were written.

    Raises:
        DataError: the drives are missing or damaged, or the copies that are there were made with
            other settings or of other drives.
    """
    frames = {split: list_frames(copies.source, split) for split in splits}
    _agree(rest.parent / MANIFEST, copies, frames, (apart, rest))
    jobs: list[tuple[FrameFiles, FrameFiles]] = []
    for split, of_split in frames.items():
        chosen: set[int] = set()
        if split == "train":
            chosen = set(choose([f.sequence for f in of_split], None, copies.pretraining_drives))
        for i, frame in enumerate(of_split):
            roots = [apart if i in chosen else rest] + [apart] * (split == "val")
            jobs += [(frame, FrameFiles(root, split, frame.name)) for root in roots]
    missing = [job for job in jobs if not job[1].path("camera").is_file()]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(_copy, old, new, copies.width) for old, new in missing]:
            done.result()
    return len(missing)


def _agree(
    path: Path, copies: Copies, frames: dict[str, list[FrameFiles]], roots: tuple[Path, ...]
) -> None:
    """Write the manifest, or refuse copies that another one was written for.

    Another split is added; another drive of a split would move the borders between trainings.
    """
    settings = {name: str(value) for name, value in asdict(copies).items()}
    drives = {split: _drives(of_split) for split, of_split in frames.items()}
    before: dict[str, Any] | None = read_json(path)
    if before is None:
        if any(root.exists() for root in roots):
            raise DataError(_refused(path.parent, f"nobody knows how: there is no {path.name}"))
        before = {"settings": settings, "drives": {}}
    changed = [
        f"{name}: {before['settings'].get(name)} → {value}"
        for name, value in settings.items()
        if before["settings"].get(name) != value
    ]
    changed += [
        f"{split}: {_count(before['drives'][split])} → {_count(now)}"
        for split, now in drives.items()
        if before["drives"].get(split, now) != now
    ]
    if changed:
        raise DataError(
            _refused(path.parent, f"from other settings or drives ({'; '.join(changed)})")
        )
    write_json(path, before | {"drives": before["drives"] | drives})


def _drives(frames: Iterable[FrameFiles]) -> dict[str, int]:
    """Sequences with their numbers of frames."""
    return dict(sorted(Counter(frame.name.rpartition("_")[0] for frame in frames).items()))


def _count(drives: dict[str, int]) -> str:
    return f"{len(drives)} drives of {sum(drives.values())} frames"


def _refused(folder: Path, how: str) -> str:
    return (
        f"The reduced drives in {folder} were made {how}. Mixed with others they would show the "
        "pre-training's drives to the members. Give the study another name, or delete that "
        "folder and every network that was trained on it."
    )


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
            nearest = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST_EXACT)
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
