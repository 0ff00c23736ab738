"""Convert bags to a data set: check everything, then write the frames, then dataset.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from emu_core.bags.errors import BagError
from emu_core.bags.images import UnsupportedImage, to_rgb
from emu_core.bags.reader import Message, open_bag
from emu_core.recordings.dataset_folder import DatasetFolder
from emu_core.recordings.frames import (
    Lens,
    depth_code,
    depth_of_cloud,
    depth_of_image,
    image_file,
)
from emu_core.recordings.options import ConversionOptions, find_bags
from emu_core.recordings.plan import TRAIN, VAL, BagPlan, PlannedFrame, paired_messages
from emu_core.recordings.prefill import Prefill
from emu_core.recordings.recording import Recording, frame_id, lens_of, open_recording
from emu_core.recordings.summary import Totals, summary
from emu_core.recordings.topics import CLOUD_TYPE
from emu_core.recordings.transforms import StaticTransforms


def convert(
    options: ConversionOptions, report: Callable[[int, int], object] = lambda done, total: None
) -> list[str]:
    """Write the data set, and return the lines of a summary.

    Args:
        options: What to take from the bags, and how to write it.
        report: Called after each frame with the numbers of finished and of all frames.

    Raises:
        BagError: A bag, a topic or the output is unusable. The message says what to do.
        ModelError: The model of `prefill` is unusable.
        OSError: A file cannot be written.
    """
    paths, notes = find_bags(options)
    folder = DatasetFolder(options)
    prefill = Prefill(options.prefill, options.unlabelled_above) if options.prefill else None
    recordings = [open_recording(path, name, options) for name, path in paths.items()]
    planned = sum(len(recording.plan.frames) for recording in recordings)
    folder.begin({k: v for recording in recordings for k, v in recording.entries.items()})
    totals, records = Totals(), {}
    done = 0
    for recording in recordings:
        before = totals.frames.copy()
        for _ in _write_frames(recording, folder, options, prefill, totals):
            done += 1
            report(done, planned)
        totals.left_out += recording.plan.left_out
        records[recording.name] = {
            "images": recording.plan.images,
            "written": dict(totals.frames - before),
            "left_out": dict(recording.plan.left_out),
        }
    if not totals.frames and not totals.kept:
        reasons = "; ".join(f"{count} {reason}" for reason, count in totals.left_out.items())
        raise BagError(f"no frame could be written: {reasons}")
    if prefill is not None and (table := prefill.table()):
        folder.write_classes(table)
    folder.finish(records, _dataset(options, recordings, prefill))
    return [*summary(options, recordings, totals), *notes]


def _dataset(
    options: ConversionOptions, recordings: list[Recording], prefill: Prefill | None
) -> dict[str, Any]:
    """Content of dataset.yaml."""
    used = {frame.split for recording in recordings for frame in recording.plan.frames}
    limit = {} if options.max_depth is None else {"limit": options.max_depth}
    content = {
        "name": options.name or options.output.resolve().name,
        **(prefill.entries() if prefill else {}),
        **({"depth": {"scale": 256, **limit}} if options.depth else {}),
        "splits": {split: [f"{split}/*"] for split in (TRAIN, VAL) if split in used},
        "license": options.license,
        "attribution": options.attribution,
    }
    return {name: value for name, value in content.items() if value is not None}


def _write_frames(
    recording: Recording,
    folder: DatasetFolder,
    options: ConversionOptions,
    prefill: Prefill | None,
    totals: Totals,
) -> Iterator[PlannedFrame]:
    """Write the frames of a bag that do not exist yet; yields each of its frames."""
    plan, missing = recording.plan, []
    for frame in plan.frames:
        if folder.has(frame.name):
            totals.kept += 1
            yield frame
        else:
            missing.append(frame)
    with open_bag(recording.path, salvage=options.salvage) as bag:
        transforms = StaticTransforms(bag)
        for frame, image, depth in paired_messages(bag, missing):
            message, camera = bag.decode(image), frame.camera
            try:
                rgb = to_rgb(message)
            except UnsupportedImage as error:
                plan.left_out[f"with an unreadable image ({error.kind})"] += 1
                yield frame
                continue
            info = plan.info(camera, frame.time_ns)
            lens = None if info is None else lens_of(bag, camera, info, rgb)
            code = entry = seen = None
            rectify = lens is not None and lens.rectify
            if lens is not None:
                entry, seen = lens.entry(), lens.seen()
                rgb = lens.rectified(rgb) if rectify else rgb
                code = _depth_code(depth, frame_id(message, info), lens, transforms, plan, options)
            labels = prefill.labels(rgb, seen) if prefill else None
            file = image_file(message, rgb, rectify, options.image_format)
            folder.write_frame(frame.name, file, code, labels, entry)
            totals.frames[frame.split] += 1
            if code is not None:
                totals.add_depth(code)
            yield frame


def _depth_code(
    message: Message | None,
    camera_frame: str,
    lens: Lens,
    transforms: StaticTransforms,
    plan: BagPlan,
    options: ConversionOptions,
) -> np.ndarray | None:
    """Code of a frame's depth, uint16 (H, W); None without depth, counted by reason."""
    if message is None:
        if options.depth:
            plan.without_depth["no depth near in time"] += 1
        return None
    decoded = transforms.bag.decode(message)
    try:
        if message.type == CLOUD_TYPE:
            matrix = transforms.matrix(decoded.header.frame_id, camera_frame)
            metres = depth_of_cloud(decoded, lens, matrix)
        else:
            metres = depth_of_image(decoded, lens)
    except UnsupportedImage as error:
        plan.without_depth[str(error)] += 1
        return None
    code = depth_code(metres, options.depth_limit)
    if not code.any():
        plan.without_depth["no depth in the image"] += 1
        return None
    return code
