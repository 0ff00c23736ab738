"""What the node publishes: one table, from which the publishers are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from emu_perception.errors import UserError
from emu_perception.messages.images import fill_image, fill_jpeg
from emu_perception.node import label_info
from emu_perception.node.frame_outputs import Answer
from emu_perception.node.parameters import WRONG_QOS

DEPTH = 5


@dataclass(frozen=True)
class Topic:
    """One topic of the contract, as a planner needs to know it."""

    topic: str
    type: str
    encoding: str
    unit: str
    range: str
    rate: str
    qos: str


@dataclass(frozen=True)
class Output:
    """A topic with an answer to every image, private to the node, and how to make its message.

    `make` gives None where there is nothing to say. Every publisher is reliable, which all readers
    accept, and volatile.
    """

    topic: str
    kind: type
    encoding: str
    unit: str
    range: str
    make: Callable[[Answer], Any | None]
    needs_labels: bool = False
    """Whether a planner that reads it needs LabelInfo: not published without."""

    def described(self) -> Topic:
        return Topic(
            f"~/{self.topic}",
            self.kind.__name__,
            self.encoding,
            self.unit,
            self.range,
            "each answer",
            f"reliable, volatile, {DEPTH}",
        )


OUTPUTS = (
    Output(
        "semantic/image",
        Image,
        "mono8",
        "class id",
        "0 to C - 1; C: unknown, if asked for; 255: unlabelled",
        lambda a: fill_image(Image(), a.perception.labels, "mono8", a.header),
    ),
    Output(
        "semantic/confidence",
        Image,
        "mono8",
        "round(255 (1 - entropy / ln C))",
        "0 to 255; 0 where unlabelled",
        lambda a: fill_image(Image(), a.confidence, "mono8", a.header),
    ),
    Output(
        "semantic/uncertainty",
        Image,
        "32FC1",
        "entropy / ln C",
        "0 to 1",
        lambda a: fill_image(Image(), a.perception.label_uncertainty, "32FC1", a.header),
    ),
    Output(
        "depth/image",
        Image,
        "32FC1",
        "metres along Z",
        "+Inf: sky or beyond range; NaN: no estimate",
        lambda a: fill_image(Image(), a.perception.depth, "32FC1", a.header),
    ),
    Output(
        "depth/uncertainty",
        Image,
        "32FC1",
        "metres, standard deviation",
        "+Inf and NaN where depth is",
        lambda a: fill_image(Image(), a.perception.depth_std, "32FC1", a.header),
    ),
    Output(
        "depth/camera_info",
        CameraInfo,
        "",
        "pixels",
        "K and P of depth/image; only if the camera's are known",
        lambda a: a.depth_camera_info,
    ),
    Output(
        "points",
        PointCloud2,
        "",
        "metres; x y z rgb label label_uncertainty depth_std",
        "size of the maps; NaN where depth is not usable",
        lambda a: a.points,
        needs_labels=True,
    ),
    Output(
        "overlay",
        Image,
        "bgr8",
        "colours of the classes",
        "paler where uncertain",
        lambda a: fill_image(Image(), a.overlay, "bgr8", a.header),
    ),
    Output(
        "overlay/compressed",
        CompressedImage,
        "jpeg",
        "colours of the classes",
        "paler where uncertain",
        lambda a: fill_jpeg(CompressedImage(), a.overlay, a.settings.jpeg_quality, a.header),
    ),
)
"""What a robot steers by comes first. Stamp and frame_id are the image's."""

TOPICS = (
    Topic(
        f"~/{label_info.TOPIC}",
        "vision_msgs/LabelInfo",
        "",
        "id and name",
        "every class; `unknown` if asked for",
        "on activation",
        "reliable, transient local, 1",
    ),
    *(output.described() for output in OUTPUTS),
    Topic(
        "/diagnostics",
        "DiagnosticArray",
        "",
        "OK, WARN, ERROR, in words",
        "",
        "1 Hz",
        "reliable, volatile, 10",
    ),
)
"""All topics of one camera that has no name; that of one named `front` are in `~/front/`."""


class Publishers:
    """One camera's publishers, below `prefix`: one of each output, and that of LabelInfo.

    They are silent until the node is active. UserError for wrong `qos_overrides` parameters.
    """

    def __init__(self, node: LifecycleNode, prefix: str = "~/") -> None:
        self._node, self._prefix = node, prefix
        # The node's own group remembers all that was ever in it.
        self._group = MutuallyExclusiveCallbackGroup()
        self._made: list[Any] = []
        try:
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self.label_info = (
                self._create(label_info.message_type(), label_info.TOPIC, latched)
                if label_info.available()
                else None
            )
            self._publishers = [
                (output, self._create(output.kind, output.topic, QoSProfile(depth=DEPTH)))
                for output in OUTPUTS
                if self.label_info is not None or not output.needs_labels
            ]
        except WRONG_QOS as error:
            self.close()
            raise UserError(f"the publishers cannot be made: {error}") from error

    def listened(self) -> list[tuple[Output, Any]]:
        """Those outputs, with their publishers, that somebody subscribes to right now."""
        return [pair for pair in self._publishers if pair[1].get_subscription_count()]

    def close(self) -> None:
        """Take the topics away."""
        for publisher in self._made:
            self._node.destroy_lifecycle_publisher(publisher)
        self._made.clear()

    def _create(self, kind: type, topic: str, qos: QoSProfile) -> Any:
        publisher = self._node.create_lifecycle_publisher(
            kind,
            f"{self._prefix}{topic}",
            qos,
            callback_group=self._group,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._made.append(publisher)
        return publisher
