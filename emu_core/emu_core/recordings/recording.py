"""Open a recorded bag: choose its frames, and check what would make them useless."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.bags.camera_info import CameraInfoError
from emu_core.bags.errors import BagError
from emu_core.bags.images import UnsupportedImage, to_rgb
from emu_core.bags.reader import Bag, open_bag
from emu_core.bags.types import CameraInfo, CompressedImage, Image
from emu_core.recordings.clouds import cloud_points
from emu_core.recordings.frames import Lens, depth_of_image, open_lens
from emu_core.recordings.options import ConversionOptions
from emu_core.recordings.plan import BagPlan, plan_bag
from emu_core.recordings.topics import CLOUD_TYPE, CameraTopics, depth_topics, find_cameras
from emu_core.recordings.transforms import StaticTransforms


@dataclass
class Recording:
    """A bag whose frames are chosen and whose first messages were checked.

    Attributes:
        path: Path of the bag.
        name: Its name in the data set.
        plan: Its frames.
        entries: Entries of cameras.json by folder.
        descriptions: One line about the lens of each camera, by the camera's name.
    """

    path: Path
    name: str
    plan: BagPlan
    entries: dict[str, dict[str, float]] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)


def open_recording(path: Path, name: str, options: ConversionOptions) -> Recording:
    """Choose the frames of a bag, and check the first messages of each camera."""
    with open_bag(path, salvage=options.salvage) as bag:
        cameras = find_cameras(bag, options)
        plan = plan_bag(bag, name, cameras, options)
        recording = Recording(path, name, plan)
        for camera in cameras:
            message, rgb = _first_image(bag, camera.image)
            info = plan.info(camera, plan.span_ns[0])
            lens, text = None, f"{rgb.shape[1]}x{rgb.shape[0]}, camera unknown: teaches no metres"
            if info is not None:
                lens = lens_of(bag, camera, info, rgb)
                folders = {frame.folder for frame in plan.frames if frame.camera is camera}
                recording.entries.update({each: lens.entry() for each in folders})
                text = _describe(lens, camera)
            recording.descriptions[camera.folder] = text
            if camera.depth and lens is not None:
                depth = bag.decode(next(bag.messages([camera.depth])))
                _check_frames(bag, camera, frame_id(message, info), depth, plan)
                _check_depth(bag, camera.depth, depth, lens)
        if bag.left_out:
            plan.notes.append(f"not read from {path}: {bag.not_read()}")
        if not options.depth and (found := depth_topics(bag)):
            plan.notes.append(f"no depth was asked for; {path} has {', '.join(found)} (--depth)")
    return recording


def _first_image(bag: Bag, topic: str) -> tuple[Any, np.ndarray]:
    """The first message of a topic that can be decoded, and its pixels."""
    failure: UnsupportedImage | None = None
    for message in bag.messages([topic]):
        decoded = bag.decode(message)
        try:
            return decoded, to_rgb(decoded)
        except UnsupportedImage as error:
            failure = failure or error
    raise BagError(f"{bag.path}: no image of {topic} can be read: {failure}")


def lens_of(bag: Bag, camera: CameraTopics, info: CameraInfo, rgb: np.ndarray) -> Lens:
    """Geometry of an image; BagError if camera_info does not fit it."""
    try:
        return open_lens(info, rgb.shape, camera.rectified)
    except CameraInfoError as error:
        source = camera.info or "the calibration"
        raise BagError(
            f"{bag.path}: {source} does not fit {camera.image}: {error}; or give another one with "
            "--camera-info"
        ) from error


def _describe(lens: Lens, camera: CameraTopics) -> str:
    width, fx = lens.model.width, float(lens.matrix[0, 0])
    view = math.degrees(2 * math.atan(width / (2 * fx)))
    state = "no distortion"
    if lens.rectify:
        state = f"distortion ({lens.model.model}) removed"
    elif camera.rectified:
        state = "rectified already"
    return f"{width}x{lens.model.height}, fx {fx:.1f} px, {view:.0f}° wide, {state}"


def frame_id(image: Image | CompressedImage, info: CameraInfo | None) -> str:
    """Name of the camera's frame, from the image, or else from its camera_info."""
    return image.header.frame_id or (info.header.frame_id if info is not None else "")


def _check_depth(bag: Bag, topic: str, depth: Any, lens: Lens) -> None:
    """Check that a message is of a kind that holds depth, and of the shape of the images."""
    try:
        if bag.topics[topic].type == CLOUD_TYPE:
            cloud_points(depth)
        else:
            depth_of_image(depth, lens)
    except UnsupportedImage as error:
        if error.kind in ("encoding", "codec"):  # of all messages; others may be damaged
            raise BagError(f"{bag.path}: {topic} holds no depth: {error}") from error


def _check_frames(bag: Bag, camera: CameraTopics, frame: str, depth: Any, plan: BagPlan) -> None:
    """Check that a cloud has a fixed transform, and that a depth image is aligned."""
    source, transforms = depth.header.frame_id, StaticTransforms(bag)
    assert camera.depth is not None
    if bag.topics[camera.depth].type == CLOUD_TYPE:
        transforms.matrix(source, frame)
        return
    if source.strip("/") == frame.strip("/") or not source or not frame:
        return
    try:
        aligned = np.allclose(transforms.matrix(source, frame), np.eye(4), atol=1e-4)
    except BagError:
        plan.notes.append(
            f"{camera.depth} is in the frame {source!r}, {camera.image} in {frame!r}: check that "
            "the depth is aligned to the image"
        )
        return
    if not aligned:
        raise BagError(
            f"{bag.path}: {camera.depth} is not aligned to {camera.image}: its frame {source!r} "
            f"is elsewhere than {frame!r}; record the depth that the driver aligns to the image"
        )
