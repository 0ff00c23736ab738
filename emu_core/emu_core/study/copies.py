"""Reduced copies of drives in Cityscapes' layout, with the drives of the pre-training set aside.

Images are averaged, ground truth takes the nearest pixel. Disparity values do not change: the
camera of a copy has a shorter focal length and, by the same factor, a longer baseline. A list next
to the copies contains their settings, so copies with other settings or drives are never mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
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
from emu_core.files import read_json, write_json
from emu_core.study.config import Copies

MANIFEST = "copies.json"
"""In the folder of the copies: their settings, and each split's drives with numbers of frames."""

FOR_TRAINING = "train.json"
"""In the same folder: the part of the manifest that trainings depend on."""


def copy_drives(copies: Copies, splits: Iterable[str], folder: Path) -> int:
    """Copy splits; frames that are complete are not copied again.

    Args:
        copies: Source, width, and number of training drives for the pre-training.
        splits: Names of the splits. The training split is divided between FOLDER/pretraining and
            FOLDER/drives; val is copied to both, the others only to FOLDER/drives.
        folder: Folder of the copies.

    Returns:
        Number of frames that were copied.

    Raises:
        DataError: The drives are missing or damaged, or the folder holds copies that were made
            with other settings or of other drives.
    """
    frames = {split: list_frames(copies.source, split) for split in splits}
    pretraining, drives = folder / "pretraining", folder / "drives"
    manifest = _manifest(folder, copies, frames)
    jobs: list[tuple[FrameFiles, FrameFiles]] = []
    for split, of_split in frames.items():
        chosen: set[int] = set()
        if split == "train":
            chosen = set(choose([f.sequence for f in of_split], None, copies.pretraining_drives))
        for i, frame in enumerate(of_split):
            roots = [pretraining if i in chosen else drives]
            roots += [pretraining] if split == "val" else []
            copy = partial(FrameFiles, split=split, name=frame.name, folder=frame.folder)
            jobs += [(frame, copy(root)) for root in roots]
    missing = [job for job in jobs if not job[1].path("camera").is_file()]
    write_json(folder / MANIFEST, manifest)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(_copy, old, new, copies.width) for old, new in missing]:
            done.result()
    train = manifest["drives"].get("train")
    write_json(folder / FOR_TRAINING, {"settings": manifest["settings"], "train": train})
    return len(missing)


def _manifest(
    folder: Path, copies: Copies, frames: Mapping[str, list[FrameFiles]]
) -> dict[str, Any]:
    """Describe the copies after this run.

    A new split may be added; another drive of a known split would move drives between trainings.
    """
    settings = {name: str(value) for name, value in asdict(copies).items()}
    drives = {
        split: dict(sorted(Counter(f.sequence for f in of_split).items()))
        for split, of_split in frames.items()
    }
    before: dict[str, Any] | None = read_json(folder / MANIFEST)
    if before is None:
        if any((folder / name).exists() for name in ("pretraining", "drives")):
            raise _refusal(folder, f"with unknown settings: there is no {MANIFEST}")
        return {"settings": settings, "drives": drives}
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
        raise _refusal(folder, f"with other settings or of other drives ({'; '.join(changed)})")
    return {"settings": settings, "drives": before["drives"] | drives}


def _count(drives: Mapping[str, int]) -> str:
    return f"{len(drives)} drives of {sum(drives.values())} frames"


def _refusal(folder: Path, how: str) -> DataError:
    return DataError(
        f"The reduced drives in {folder} were made {how}. If they were mixed with others, members "
        "could be trained on drives of the pre-training. Give the study another name, or delete "
        "that folder and every network that was trained on it."
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
    # The camera is written last: it marks a frame as complete.
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
