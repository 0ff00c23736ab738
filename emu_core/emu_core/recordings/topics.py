"""Find the topics of each camera in a bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emu_core.bags import types
from emu_core.bags.calibration import read_calibration
from emu_core.bags.camera_info import is_rectified_name
from emu_core.bags.errors import BagError
from emu_core.bags.reader import IMAGE_TYPES, Bag, is_color
from emu_core.bags.types import CameraInfo
from emu_core.recordings.options import NO_CAMERA, ConversionOptions

INFO_TYPE = CameraInfo.__msgtype__
CLOUD_TYPE = types.PointCloud2.__msgtype__
_COMPRESSED = "/compressed"
_NOT_A_CAMERA = ("depth", "disparity", "ground_truth", "overlay", "mask", "label", "semantic")


@dataclass(frozen=True, eq=False)
class CameraTopics:
    """The topics of a camera.

    Attributes:
        folder: Name of the camera in the data set.
        image: Topic of its images.
        info: Topic of its camera_info; None without one.
        calibration: Its calibration from a file; None without one.
        depth: Topic of its depth; None without one.
        rectified: Whether its images are rectified already.
    """

    folder: str
    image: str
    info: str | None
    calibration: CameraInfo | None
    depth: str | None
    rectified: bool


def find_cameras(bag: Bag, options: ConversionOptions) -> list[CameraTopics]:
    """Find the topics of all cameras that the options ask for.

    Raises:
        BagError: A topic is missing, has the wrong type, or is ambiguous.
    """
    images = [bag.topic_name(topic) for topic in options.image] or [_only_camera(bag)]
    for topic in images:
        _check_type(bag, topic, IMAGE_TYPES)
    infos = list(options.camera_info)
    if infos in ([NO_CAMERA], []):
        infos *= len(images)
    if infos and len(infos) != len(images):
        raise BagError(
            f"--camera-info must have one entry for each of the {len(images)} images, "
            f"but has {len(infos)}"
        )
    depths: list[str | None] = [bag.topic_name(topic) for topic in options.depth] or [None]
    for topic in filter(None, depths):
        _check_type(bag, topic, (*IMAGE_TYPES, CLOUD_TYPE))
    clouds = all(topic is None or bag.topics[topic].type == CLOUD_TYPE for topic in depths)
    if len(depths) == 1 and clouds:
        depths *= len(images)
    if len(depths) != len(images):
        raise BagError(
            f"--depth must have one topic for each of the {len(images)} images, "
            f"but has {len(depths)}"
        )
    folders = [_namespace(image) for image in images]
    if len(set(folders)) < len(folders):
        folders = [_base(image).strip("/").replace("/", "_") for image in images]
    if len(set(folders)) < len(folders):
        raise BagError(f"two of the images {', '.join(images)} are one camera: give one of them")
    cameras = []
    for i, image in enumerate(images):
        info, calibration = _find_info(bag, image, infos[i] if infos else None)
        if depths[i] and info is None and calibration is None:
            raise BagError(
                f"{bag.path}: the depth of {image} needs its camera: give --camera-info, "
                "or leave out --depth"
            )
        rectified = options.rectified
        rectified = is_rectified_name(image) if rectified is None else rectified
        cameras.append(CameraTopics(folders[i], image, info, calibration, depths[i], rectified))
    return cameras


def depth_topics(bag: Bag) -> list[str]:
    """Topics with messages that may hold measured depth, for a hint."""
    return [
        topic.name
        for topic in bag.topics.values()
        if topic.count
        and (topic.type == CLOUD_TYPE or (topic.type in IMAGE_TYPES and "depth" in topic.name))
        and "emu_perception" not in topic.name
    ]


def _listed(bag: Bag, types: Sequence[str] | None = None) -> str:
    found = [f"{t.name} ({t.type})" for t in bag.topics.values() if not types or t.type in types]
    return ", ".join(found) or "none"


def _check_type(bag: Bag, topic: str, allowed: Sequence[str]) -> None:
    known = bag.topics.get(topic)
    if known is None:
        raise BagError(f"{bag.path} has no topic {topic}; its topics: {_listed(bag)}")
    if known.type not in allowed:
        raise BagError(
            f"{bag.path}: {topic} is a {known.type}, not a {' or '.join(allowed)}; such topics: "
            f"{_listed(bag, allowed)}"
        )
    if not known.count:
        raise BagError(f"{bag.path}: {topic} has no messages; its topics: {_listed(bag)}")


def _only_camera(bag: Bag) -> str:
    """The topic of the only camera; of a raw and a compressed topic, the one with more images."""
    cameras: dict[str, str] = {}
    found = [t for t in bag.topics.values() if t.type in IMAGE_TYPES and t.count]
    found = [t for t in found if not any(word in t.name for word in _NOT_A_CAMERA)]
    colors = [t for t in found if is_color(bag.decode(next(bag.messages([t.name]))))]
    # Compressed images can be copied as they are.
    for topic in sorted(colors or found, key=lambda t: (t.count, t.name.endswith(_COMPRESSED))):
        cameras[_base(topic.name)] = topic.name
    if len(cameras) == 1:
        return next(iter(cameras.values()))
    problem = f"has {len(cameras)} cameras" if cameras else "has no topic that is surely a camera"
    raise BagError(
        f"{bag.path} {problem}: choose with --image; its images: {_listed(bag, IMAGE_TYPES)}"
    )


def _find_info(bag: Bag, image: str, given: str | None) -> tuple[str | None, CameraInfo | None]:
    """Topic of camera_info or calibration of a camera."""
    if given == NO_CAMERA:
        return None, None
    if given is not None and given not in bag.topics and Path(given).is_file():
        return None, read_calibration(given)
    by_convention = f"{_base(image).rpartition('/')[0]}/camera_info"
    topic = bag.topic_name(by_convention if given is None else given)
    if given is not None or topic in bag.topics:
        _check_type(bag, topic, (INFO_TYPE,))
        return topic, None
    raise BagError(
        f"{bag.path} has no {topic} for {image}: give the topic or a calibration file with "
        f"--camera-info, or --camera-info {NO_CAMERA} for images that teach no metres; its "
        f"camera_info: {_listed(bag, [INFO_TYPE])}"
    )


def _base(topic: str) -> str:
    return topic.removesuffix(_COMPRESSED)


def _namespace(image: str) -> str:
    """Name of the camera: the namespace of its images, or their topic where there is none."""
    parts = _base(image).strip("/").split("/")
    return "_".join(parts[:-1] if len(parts) > 1 else parts)
