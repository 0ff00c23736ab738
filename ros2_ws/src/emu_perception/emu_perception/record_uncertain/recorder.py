"""The node `record_uncertain`: topics in, uncertain moments out."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ament_index_python.packages import get_package_share_directory
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from emu_core.bags import types as bag_types
from emu_perception.bag_tools.disk_queue import DiskQueue
from emu_perception.bag_tools.topics import RawTopics, recorded_qos
from emu_perception.errors import UserError
from emu_perception.node.log_once import LogOnce
from emu_perception.node.parameters import AT_START, Parameter, declare
from emu_perception.record_uncertain.moment_bags import WHEN_FULL, MomentBags, Quota, Recorded
from emu_perception.record_uncertain.moments import (
    DEPTH,
    LABEL,
    DepthDoubts,
    Doubt,
    Moment,
    Moments,
    Received,
    Rules,
    mean_uncertainty,
)
from emu_perception.ros.ros_process import RosProcess

_MB = 10**6
_LOOK_PERIOD_S = 1.0
_UNCERTAINTY, _DEPTH_MAP, _DEVIATION = "semantic/uncertainty", "depth/image", "depth/uncertainty"

_Parameter = partial(Parameter, changes=AT_START)

PARAMETERS = (
    _Parameter(
        "camera",
        "image image/compressed camera_info",
        "topics to keep beside the answers, separated by spaces",
    ),
    _Parameter("answers", "emu_perception", "where the perception node's topics lie"),
    _Parameter(
        "keep",
        f"semantic/image {_UNCERTAINTY} semantic/label_info {_DEPTH_MAP} {_DEVIATION} "
        "depth/camera_info",
        "which of the answers to keep, separated by spaces",
    ),
    # On the drive of `make demo` the means are 0.04 and 0.12; darkened to night, 0.17 and 0.29.
    _Parameter(
        "label_uncertainty", 0.1, "a frame's mean above which a moment begins; 0: none", (0.0, 1.0)
    ),
    _Parameter(
        "depth_uncertainty",
        0.2,
        "likewise, the mean of depth's deviation over depth; 0: none",
        (0.0, 100.0),
    ),
    _Parameter("before_s", 3.0, "seconds kept of before the moment", (0.0, 600.0)),
    _Parameter("after_s", 3.0, "and of after it", (0.0, 600.0)),
    _Parameter("interval_s", 60.0, "seconds from one moment to the next, at least", (0.0, 1e6)),
    _Parameter("buffer_mb", 512, "megabytes held in memory, at most", (1, 1_000_000)),
    _Parameter("folder", "uncertain", "where the bags go; it is made"),
    _Parameter("quota_mb", 10_000, "megabytes of bags there, at most", (1, 100_000_000)),
    _Parameter("when_full", "stop", "record no more, or delete our own oldest", WHEN_FULL),
    _Parameter("storage", "mcap", "of the bags", ("mcap", "sqlite3")),
)


class UncertainRecorder:
    """Records moments in which the perception node is in doubt.

    Parameters
    ----------
    See `PARAMETERS`; all are read once, at the start.

    Subscribers
    -----------
    The topics that `camera` and `keep` name, and those that doubt is measured by: the latter's
    `semantic/uncertainty`, `depth/image` and `depth/uncertainty` below `answers`. Of every type,
    with the QoS that their publishers offer.

    Raises
    ------
    UserError
        A parameter is wrong.
    """

    def __init__(self, ros: RosProcess) -> None:
        self._ros = ros
        self._logger = ros.node.get_logger()
        self._log_once = LogOnce(self._logger)
        values = {parameter.name: declare(ros.node, parameter) for parameter in PARAMETERS}
        self._wanted, self._measures = self._topics(values)
        self._depth_doubts = DepthDoubts()
        self._raw = RawTopics(ros.node, self._take, self._logger.warning)
        folder = Path(values["folder"]).expanduser()
        self._bags = MomentBags(
            folder,
            Quota(folder, values["quota_mb"] * _MB, values["when_full"]),
            values["storage"],
            self._describe,
            _learn,
            self._logger.info,
            self._logger.error,
        )
        buffer_bytes = values["buffer_mb"] * _MB
        self._queue = DiskQueue(2 * buffer_bytes)
        rules = Rules(
            {LABEL: values["label_uncertainty"], DEPTH: values["depth_uncertainty"]},
            values["before_s"],
            values["after_s"],
            values["interval_s"],
            buffer_bytes,
        )
        self._moments = Moments(rules, _Queued(self._bags, self._queue, self._log_once))
        self._logger.info(f"bags of uncertain moments go to {folder.absolute()}")

    def run(self) -> None:
        """Record until SIGINT or SIGTERM; a moment at hand is closed then."""
        writer = threading.Thread(target=self._queue.run, name="writer")
        writer.start()
        try:
            next_look = 0.0
            while not self._ros.stop.is_set():
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + _LOOK_PERIOD_S
                    self._look()
                self._ros.spin_once(0.1)
                self._moments.tick(time.monotonic_ns())
        finally:
            self._moments.finish()
            self._queue.close()
            writer.join()
        self._logger.info(
            f"moments recorded: {self._bags.written}; uncertain frames that came too soon after "
            f"one: {self._moments.passed_over}"
        )

    def _topics(self, values: dict[str, Any]) -> tuple[list[str], dict[str, Callable]]:
        """Full names of what is kept, and of what doubt is measured by, with who measures it."""
        resolve = partial(_resolved, self._ros.node)
        below = values["answers"].rstrip("/")
        measures = {}
        if values["label_uncertainty"]:
            measures[resolve(f"{below}/{_UNCERTAINTY}")] = self._label_doubt
        if values["depth_uncertainty"]:
            measures[resolve(f"{below}/{_DEPTH_MAP}")] = self._depth_doubt
            measures[resolve(f"{below}/{_DEVIATION}")] = self._deviation_doubt
        if not measures:
            raise UserError("label_uncertainty and depth_uncertainty are both 0: no moment begins")
        kept = [f"{below}/{name}" for name in values["keep"].split()]
        names = [resolve(name) for name in (*values["camera"].split(), *kept)]
        return names, measures

    def _look(self) -> None:
        for name in {*self._wanted, *self._measures}:
            known = name in self._raw.topics
            self._raw.look(name, required=False)
            if not known and name in self._raw.topics:
                self._logger.info(f"listening to {name}")

    def _take(self, name: str, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        if name in self._wanted:
            latched = self._raw.topics[name].latched
            self._moments.take(Received(name, now_ns, time.time_ns(), data, latched))
        measure = self._measures.get(name)
        if measure is None:
            return
        is_image = self._raw.topics[name].type == "sensor_msgs/msg/Image"
        image = _float_image(data) if is_image else None
        if image is None:
            self._log_once.error(f"encoding {name}", f"{name} is no Image of encoding 32FC1")
            return
        stamp_ns = bag_types.stamp_ns(data)
        kind, value = measure(stamp_ns, image)
        if value is not None:
            self._moments.judge(Doubt(kind, value, stamp_ns, now_ns))

    def _label_doubt(self, stamp_ns: int, image: np.ndarray) -> tuple[str, float | None]:
        return LABEL, mean_uncertainty(image)

    def _depth_doubt(self, stamp_ns: int, image: np.ndarray) -> tuple[str, float | None]:
        return DEPTH, self._depth_doubts.depth(stamp_ns, image)

    def _deviation_doubt(self, stamp_ns: int, image: np.ndarray) -> tuple[str, float | None]:
        return DEPTH, self._depth_doubts.deviation(stamp_ns, image)

    def _describe(self, name: str) -> Recorded:
        topic = self._raw.topics[name]
        return Recorded(topic.type, recorded_qos(topic.infos))


class _Queued:
    """A sink whose work another thread does; what a slow disk leaves no room for is told."""

    def __init__(self, bags: MomentBags, queue: DiskQueue, log_once: LogOnce) -> None:
        self._bags, self._queue, self._log_once = bags, queue, log_once

    def begin(self, moment: Moment, messages: Sequence[Received]) -> None:
        size = sum(len(message.data) for message in messages)
        self._put(size, partial(self._bags.begin, moment, messages))

    def add(self, message: Received) -> None:
        self._put(len(message.data), partial(self._bags.add, message))

    def end(self, moment: Moment, whole: bool) -> None:
        self._put(0, partial(self._bags.end, moment, whole))

    def _put(self, size: int, job: Callable[[], None]) -> None:
        if not self._queue.put(size, partial(self._safely, job)):
            self._log_once.error("slow disk", "the disk is too slow: messages are lost")

    def _safely(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:  # the next moment may be fine
            self._log_once.error("writer", f"a bag failed: {traceback.format_exc()}")


def _resolved(node: Node, name: str) -> str:
    """Full name; a compressed image's follows the raw one's remapping, as image_transport's do."""
    base = name.removesuffix("/compressed")
    return node.resolve_topic_name(base) + name[len(base) :]


def _float_image(data: bytes) -> np.ndarray | None:
    """A map of the perception node, float32 (H, W); None if it is none."""
    try:
        message = deserialize_message(data, Image)
        if message.encoding != "32FC1":
            return None
        values = np.frombuffer(message.data, np.float32)
        return values.reshape(message.height, message.width)
    except (RuntimeError, ValueError):
        return None


def _learn(store: Any, msgtype: str) -> None:
    bag_types.learn_installed(store, msgtype, get_package_share_directory)
