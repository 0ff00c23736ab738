"""Choose the frames of a bag before any is written, from the stamps of its messages alone."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from emu_core.bags.errors import BagError
from emu_core.bags.reader import Bag, Message
from emu_core.bags.types import CameraInfo
from emu_core.recordings.options import ConversionOptions
from emu_core.recordings.topics import CameraTopics

TRAIN, VAL = "train", "val"
_NS = 10**9


@dataclass(frozen=True, eq=False)
class PlannedFrame:
    """A frame to write: `image` and `depth` are numbers of messages on the camera's topics."""

    camera: CameraTopics
    folder: str
    time_ns: int
    image: int
    depth: int | None

    @property
    def split(self) -> str:
        """Name of its split."""
        return self.folder.partition("/")[0]

    @property
    def name(self) -> str:
        """Path below images/ without suffix; it sorts by time."""
        seconds, nanoseconds = divmod(self.time_ns, _NS)
        return f"{self.folder}/{seconds:010d}_{nanoseconds:09d}"


@dataclass
class BagPlan:
    """The chosen frames of a bag, in order of time.

    Attributes:
        frames: All frames of all cameras.
        infos: For each topic of camera_info, the changes: (time, message), the first one at 0.
        images: Number of images by topic.
        left_out: Number of frames that are not written, by reason.
        without_depth: Number of frames that are written without the depth asked for, by reason.
        span_ns: Times of the first and the last image.
        notes: Sentences for the summary.
    """

    frames: list[PlannedFrame] = field(default_factory=list)
    infos: dict[str, list[tuple[int, CameraInfo]]] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    without_depth: Counter[str] = field(default_factory=Counter)
    span_ns: tuple[int, int] = (0, 0)
    notes: list[str] = field(default_factory=list)

    def info(self, camera: CameraTopics, time_ns: int) -> CameraInfo | None:
        """The calibration of an image: the file's, or the last camera_info before the image."""
        if camera.info is None:
            return camera.calibration
        changes = self.infos[camera.info]
        return changes[bisect.bisect(changes, time_ns, key=lambda change: change[0]) - 1][1]


def plan_bag(
    bag: Bag, name: str, cameras: list[CameraTopics], options: ConversionOptions
) -> BagPlan:
    """Choose the frames of a bag.

    In each period of `rate`, the image is taken that is nearest to a depth in time; without depth,
    the first one. The last part of the bag is for validation, and a gap before it is left out.

    Raises:
        BagError: The bag is damaged, or a camera_info topic holds none.
    """
    plan = BagPlan()
    times = _read_times(bag, cameras, plan)
    images = {camera.image: times[camera.image] for camera in cameras}
    every = [time for of_topic in images.values() for time in of_topic]
    plan.images = {topic: len(of_topic) for topic, of_topic in images.items()}
    plan.span_ns = start, end = min(every), max(every)
    boundary = end - options.val * (end - start)
    last_train = boundary - options.gap * _NS
    if options.val == 0:
        boundary = last_train = end + 1
    elif options.val < 1 and start >= last_train:
        plan.notes.append(
            f"{bag.path} is too short for a validation part and a gap of {options.gap:g} s: all "
            f"its frames are in {TRAIN}"
        )
        boundary = last_train = end + 1
    for camera in cameras:
        depths = times[camera.depth] if camera.depth else []
        pairs = _pairs(images[camera.image], depths, options.max_time_difference * _NS)
        for time_ns, image, depth in _at_rate(pairs, start, options, plan.left_out):
            if last_train <= time_ns < boundary:
                plan.left_out[f"in the gap between {TRAIN} and {VAL}"] += 1
                continue
            split = VAL if time_ns >= boundary else TRAIN
            folder = f"{split}/{camera.folder}/{name}"
            plan.frames.append(PlannedFrame(camera, folder, time_ns, image, depth))
    plan.frames.sort(key=lambda frame: frame.time_ns)
    return plan


def paired_messages(
    bag: Bag, frames: list[PlannedFrame]
) -> Iterator[tuple[PlannedFrame, Message, Message | None]]:
    """Yield each frame with the messages of its image and its depth, as soon as both are read."""
    needed = {frame: _keys(frame) for frame in frames}
    users: dict[tuple[str, int], list[PlannedFrame]] = {}
    for frame, keys in needed.items():
        for key in keys:
            users.setdefault(key, []).append(frame)
    numbers: Counter[str] = Counter()
    held: dict[tuple[str, int], Message] = {}
    for message in bag.messages({topic for topic, _ in users}) if users else ():
        key = (message.topic, numbers[message.topic])
        numbers[message.topic] += 1
        if key not in users:
            continue
        held[key] = message
        for frame in list(users[key]):
            keys = needed[frame]
            if not all(each in held for each in keys):
                continue
            yield frame, held[keys[0]], held[keys[1]] if len(keys) > 1 else None
            for each in keys:
                users[each].remove(frame)
                if not users[each]:
                    del users[each], held[each]
        if not users:
            return


def _keys(frame: PlannedFrame) -> list[tuple[str, int]]:
    keys = [(frame.camera.image, frame.image)]
    if frame.depth is not None and frame.camera.depth is not None:
        keys.append((frame.camera.depth, frame.depth))
    return keys


def _read_times(bag: Bag, cameras: list[CameraTopics], plan: BagPlan) -> dict[str, list[int]]:
    """Times of all images and depths by topic, and the changes of camera_info into the plan.

    They are the stamps; if one of them is zero, the times of receipt, for all topics.
    """
    info_topics = {camera.info for camera in cameras if camera.info}
    topics = {topic for c in cameras for topic in (c.image, c.depth) if topic}
    stamps: dict[str, list[int]] = {topic: [] for topic in topics}
    receipts: dict[str, list[int]] = {topic: [] for topic in topics}
    infos: dict[str, list[tuple[int, int, CameraInfo]]] = {topic: [] for topic in info_topics}
    latest: dict[str, bytes] = {}
    for message in bag.messages(topics | info_topics):
        stamp = bag.stamp_ns(message) or 0
        if message.topic in info_topics:
            content = message.data[12:]  # without the stamp
            if latest.get(message.topic) != content:
                latest[message.topic] = content
                infos[message.topic].append((stamp, message.time_ns, bag.decode(message)))
            continue
        stamps[message.topic].append(stamp)
        receipts[message.topic].append(message.time_ns)
    for topic, changes in infos.items():
        if not changes:
            raise BagError(f"{bag.path}: {topic} has no messages")
    by_stamp = all(stamp > 0 for of_topic in stamps.values() for stamp in of_topic)
    for topic, changes in infos.items():
        timed = [(stamp if by_stamp else receipt, info) for stamp, receipt, info in changes]
        plan.infos[topic] = [(0, timed[0][1]), *timed[1:]]
    return stamps if by_stamp else receipts


def _pairs(
    images: list[int], depths: list[int], limit_ns: float
) -> list[tuple[int, int, int | None, float]]:
    """Of each image its time, its number, the number of its depth, and how far that is."""
    order = sorted(range(len(depths)), key=depths.__getitem__)
    ordered = [depths[i] for i in order]
    result: list[tuple[int, int, int | None, float]] = []
    for number, time_ns in enumerate(images):
        at = bisect.bisect(ordered, time_ns)
        near = [i for i in (at - 1, at) if 0 <= i < len(ordered)]
        best = min(near, key=lambda i: abs(ordered[i] - time_ns), default=None)
        if best is None or abs(ordered[best] - time_ns) > limit_ns:
            result.append((time_ns, number, None, float("inf")))
        else:
            result.append((time_ns, number, order[best], float(abs(ordered[best] - time_ns))))
    return sorted(result)


def _at_rate(
    pairs: list[tuple[int, int, int | None, float]],
    start: int,
    options: ConversionOptions,
    left_out: Counter[str],
) -> Iterator[tuple[int, int, int | None]]:
    """The images to take: of equal stamps the first, then the best one of each period."""
    best: dict[int, tuple[float, int, int, int | None]] = {}
    last = None
    for time_ns, number, depth, distance in pairs:
        if time_ns == last:
            left_out["with the stamp of another image"] += 1
            continue
        last = time_ns
        every = options.all or options.moments
        period = time_ns if every else int((time_ns - start) * options.rate // _NS)
        candidate = (distance, time_ns, number, depth)
        best[period] = min(best.get(period, candidate), candidate, key=lambda c: c[:2])
    for _, time_ns, number, depth in sorted(best.values(), key=lambda c: c[1]):
        yield time_ns, number, depth
