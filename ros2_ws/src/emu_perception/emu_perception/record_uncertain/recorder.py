"""The node `record_uncertain`: a recording with a trigger."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from emu_core.bags.types import stamp_ns
from emu_perception.bag_tools.disk_queue import Received
from emu_perception.bag_tools.recording import Recording
from emu_perception.errors import UserError
from emu_perception.node.parameters import AT_START, Parameter, declare
from emu_perception.record_uncertain import trigger
from emu_perception.record_uncertain.moment_bags import WHEN_FULL, MomentBags, Quota
from emu_perception.record_uncertain.trigger import DEPTH, LABEL, FrameUncertainty
from emu_perception.ros.log_once import LogOnce
from emu_perception.ros.ros_process import RosProcess

_MB = 10**6
_UNCERTAINTY, _DEPTH_MAP, _DEPTH_STD = "semantic/uncertainty", "depth/image", "depth/uncertainty"

_Parameter = partial(Parameter, changes=AT_START)

PARAMETERS = (
    _Parameter(
        "camera",
        "image image/compressed camera_info",
        "topics to record beside the node's outputs, separated by spaces",
    ),
    _Parameter("answers", "emu_perception", "namespace of the perception node's outputs"),
    _Parameter(
        "keep",
        f"semantic/image {_UNCERTAINTY} semantic/label_info {_DEPTH_MAP} {_DEPTH_STD} "
        "depth/camera_info",
        "outputs to record, separated by spaces",
    ),
    # On the drive of `make demo` the means are 0.04 and 0.12; darkened to night, 0.17 and 0.29.
    _Parameter(
        "label_uncertainty", 0.1, "limit on a frame's mean label uncertainty; 0: none", (0.0, 1.0)
    ),
    _Parameter(
        "depth_uncertainty",
        0.2,
        "limit on a frame's mean of depth_std / depth; 0: none",
        (0.0, 100.0),
    ),
    _Parameter("before_s", 3.0, "seconds recorded before the trigger", (0.0, 600.0)),
    _Parameter("after_s", 3.0, "seconds recorded after the trigger", (0.0, 600.0)),
    _Parameter("interval_s", 60.0, "shortest time between two triggers, seconds", (0.0, 1e6)),
    _Parameter("buffer_mb", 512, "size of the buffer in memory, megabytes", (1, 1_000_000)),
    _Parameter("folder", "uncertain", "folder of the bags; it is created"),
    _Parameter("quota_mb", 10_000, "largest size of all bags there, megabytes", (1, 100_000_000)),
    _Parameter("when_full", "stop", "at the quota: stop, or delete our oldest bags", WHEN_FULL),
    _Parameter("storage", "mcap", "storage of the bags", ("mcap", "sqlite3")),
)

Measure = Callable[[int, np.ndarray], "float | None"]
"""Mean uncertainty of a frame from its stamp and a map; None if another map is still missing."""


class UncertainRecording(Recording):
    """Records moments in which the perception node is uncertain.

    Parameters:
        See `PARAMETERS`; all are read once, at the start.

    Subscribers:
        The topics that `camera` and `keep` name, of any type, and those that uncertainty is
        computed from: `semantic/uncertainty`, `depth/image` and `depth/uncertainty` below
        `answers`. The QoS follows the publishers.

    Raises:
        UserError: A parameter is invalid.
    """

    def __init__(self, ros: RosProcess) -> None:
        values = {parameter.name: declare(ros.node, parameter) for parameter in PARAMETERS}
        buffer_bytes = values["buffer_mb"] * _MB
        self._logger = ros.node.get_logger()
        super().__init__(ros, self._logger.warning, 2 * buffer_bytes)
        self._log_once = LogOnce(self._logger)
        self._recorded, self._measures = self._resolve_topics(values)
        folder = Path(os.path.expanduser(values["folder"]))
        quota = Quota(folder, values["quota_mb"] * _MB, values["when_full"])
        log = (self._logger.info, self._logger.error)
        self._bags = MomentBags(folder, quota, values["storage"], self.write, *log)
        limits = {
            LABEL: values["label_uncertainty"],
            DEPTH: values["depth_uncertainty"],
        }
        durations = (values["before_s"], values["after_s"], values["interval_s"])
        rules = trigger.TriggerRules(limits, *durations, buffer_bytes)
        self._trigger = trigger.Trigger(rules, self._bags, self._put)
        self._logger.info(f"bags of uncertain moments go to {folder.absolute()}")

    def run(self) -> None:
        """Record until SIGINT or SIGTERM; the current moment's bag is closed then."""
        super().run()
        self._logger.info(
            f"moments recorded: {self._bags.written}; uncertain frames too soon after the last "
            f"moment: {self._trigger.suppressed}"
        )

    def look(self) -> None:
        for name in {*self._recorded, *self._measures}:
            known = name in self.topics
            self.topics.look(name, required=False)
            if not known and name in self.topics:
                self._logger.info(f"subscribed to {name}")

    def take(self, message: Received) -> None:
        """Pass a message, and the uncertainty in it, to the trigger."""
        if message.topic in self._recorded:
            self._trigger.take(message)
        if message.topic not in self._measures:
            return
        is_image = self.topics[message.topic].msgtype == "sensor_msgs/msg/Image"
        values = _float_image(message.data) if is_image else None
        if values is None:
            problem = f"{message.topic} is not an Image with encoding 32FC1"
            self._log_once.error(f"encoding {message.topic}", problem)
            return
        (kind, measure), stamp = self._measures[message.topic], stamp_ns(message.data)
        uncertainty = measure(stamp, values)
        if uncertainty is not None:
            self._trigger.check(FrameUncertainty(kind, uncertainty, stamp, message.time_ns))

    def tick(self) -> None:
        self._trigger.tick(time.monotonic_ns())

    def finish(self) -> None:
        self._trigger.finish()

    def _put(self, size: int, job: Callable[[], None]) -> None:
        if not self.queue.put(size, partial(self._run_job, job)):
            self._log_once.error("slow disk", "the disk is too slow: messages are lost")

    def _run_job(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:  # the next moment may succeed
            self._log_once.error("writer", f"a bag failed: {traceback.format_exc()}")

    def _resolve_topics(
        self, values: dict[str, Any]
    ) -> tuple[set[str], dict[str, tuple[str, Measure]]]:
        """Full names of the topics to record, and how to measure uncertainty by topic."""
        resolve = partial(_resolve, self.ros.node)
        below = values["answers"].rstrip("/")
        measures: dict[str, tuple[str, Measure]] = {}
        if values["label_uncertainty"]:
            label = resolve(f"{below}/{_UNCERTAINTY}")
            measures[label] = LABEL, lambda stamp, values: trigger.mean_uncertainty(values)
        if values["depth_uncertainty"]:
            ratio = trigger.DepthRatio()
            measures[resolve(f"{below}/{_DEPTH_MAP}")] = DEPTH, partial(ratio.add, "depth")
            measures[resolve(f"{below}/{_DEPTH_STD}")] = DEPTH, partial(ratio.add, "std")
        if not measures:
            raise UserError(
                "label_uncertainty and depth_uncertainty are both 0: nothing would be recorded"
            )
        outputs = [f"{below}/{name}" for name in values["keep"].split()]
        return {resolve(name) for name in (*values["camera"].split(), *outputs)}, measures


def _resolve(node: Node, name: str) -> str:
    """Full name; image/compressed follows the remapping of image, as in image_transport."""
    base = name.removesuffix("/compressed")
    return node.resolve_topic_name(base) + name[len(base) :]


def _float_image(data: bytes) -> np.ndarray | None:
    """Decode a map of the perception node, float32 (H, W); None if it is another image."""
    try:
        message = deserialize_message(data, Image)
        if message.encoding != "32FC1":
            return None
        values = np.frombuffer(message.data, np.float32)
        return values.reshape(message.height, message.width)
    except (RuntimeError, ValueError):
        return None
