"""A minimal perception node written the usual way: the yardstick of `path_benchmark`.

It copies as cv_bridge does (image out of the message, converted to BGR and back; arrays to bytes
and those into the message), computes every output for every frame and publishes one topic after
the other from the subscription's callback. The network is the same.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from emu_core.perceiver import Perceiver


class UsualNode(Node):
    """Publishes what `path_benchmark.TOPICS` names, under its own name."""

    def __init__(self, perceiver: Perceiver, **options: Any) -> None:
        super().__init__("usual_node", **options)
        self._perceiver = perceiver
        self._camera_info: CameraInfo | None = None
        kinds = {"semantic/image": Image, "semantic/confidence": Image, "depth/image": Image}
        kinds |= {"depth/uncertainty": Image, "depth/camera_info": CameraInfo}
        self.publishers_by_topic = {
            topic: self.create_publisher(kind, f"~/{topic}", 5) for topic, kind in kinds.items()
        }

    def take_info(self, message: CameraInfo) -> None:
        """The callback of camera_info."""
        self._camera_info = message

    def callback(self, message: Image) -> None:
        """The callback of images."""
        rgb = cv2.cvtColor(_to_bgr(message), cv2.COLOR_BGR2RGB)
        info = self._camera_info
        seen = self._perceiver.perceive(rgb, (info.k[0], info.k[4]) if info else None)
        confidence = np.round(255 * (1 - seen.label_uncertainty)).astype(np.uint8)
        publish = {topic: p.publish for topic, p in self.publishers_by_topic.items()}
        publish["semantic/image"](_to_message(seen.labels, "mono8", message.header))
        publish["semantic/confidence"](_to_message(confidence, "mono8", message.header))
        publish["depth/image"](_to_message(seen.depth, "32FC1", message.header))
        publish["depth/uncertainty"](_to_message(seen.depth_std, "32FC1", message.header))
        if info is not None:
            info.header = message.header
            publish["depth/camera_info"](info)


def _to_bgr(message: Image) -> np.ndarray:
    rgb = np.ndarray((message.height, message.width, 3), np.uint8, bytes(message.data))
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def _to_message(array: np.ndarray, encoding: str, header: Any) -> Image:
    message = Image(height=array.shape[0], width=array.shape[1], encoding=encoding, header=header)
    message.step = array.strides[0]
    message.data.frombytes(array.tobytes())
    return message
