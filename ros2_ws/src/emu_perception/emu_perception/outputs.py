"""What the node publishes: one table, from which the publishers are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from .answer import Answer
from .command_line import UserError
from .images import fill_image, fill_jpeg

DEPTH = 5


@dataclass(frozen=True)
class Output:
    """One topic of the contract, private to the node, and how to make its message.

    `make` gives None where there is nothing to say. Every publisher is reliable, which all readers
    accept, and volatile.
    """

    topic: str
    kind: type
    encoding: str
    unit: str
    range: str
    make: Callable[[Answer], Any | None]


def outputs(jpeg_quality: int) -> tuple[Output, ...]:
    """The table; what a robot steers by comes first. Stamp and frame_id are the image's."""
    return (
        Output(
            "semantic/image",
            Image,
            "mono8",
            "class id",
            "0 to C - 1; 255: unlabelled",
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
            lambda a: fill_jpeg(CompressedImage(), a.overlay, jpeg_quality, a.header),
        ),
    )


class Publishers:
    """The publishers of a table.

    UserError for wrong `qos_overrides` parameters.
    """

    def __init__(self, node: Node, table: tuple[Output, ...]) -> None:
        self._node = node
        create = partial(
            node.create_publisher,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        try:
            self._publishers = [
                (output, create(output.kind, f"~/{output.topic}", QoSProfile(depth=DEPTH)))
                for output in table
            ]
        except RuntimeError as error:  # a wrong value among the qos_overrides
            raise UserError(f"the publishers cannot be made: {error}") from error

    def listened(self) -> list[tuple[Output, Any]]:
        """Those outputs, with their publishers, that somebody subscribes to right now."""
        return [pair for pair in self._publishers if pair[1].get_subscription_count()]

    def close(self) -> None:
        """Take the topics away."""
        for _, publisher in self._publishers:
            self._node.destroy_publisher(publisher)
