"""A camera and subscriptions to the node's topics, in the test's process.

rig = CameraRig(domain, "/front")
with rig.node("-p", f"model:={model}"):          # emu_node as a process, in namespace /front
    rig.wait_for_outputs()
    outputs = rig.process_image(image_message("rgb8", 64, 48, rgb))
    outputs["semantic/image"].data
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from emu_core.labels import CITYSCAPES
from emu_core.runtime.dummy_model import dummy_outputs
from helpers.remote import Remote
from helpers.ros_processes import ChildProcess, TestNode, module, stopping, wait_until

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
FRAME_ID = "camera_optical"
IMAGE_TOPICS = {
    "semantic/image": Image,
    "semantic/confidence": Image,
    "semantic/uncertainty": Image,
    "depth/image": Image,
    "depth/uncertainty": Image,
    "overlay": Image,
    "overlay/compressed": CompressedImage,
}
"""What the node publishes for every image, also without camera_info."""

TOPICS = {**IMAGE_TOPICS, "depth/camera_info": CameraInfo, "points": PointCloud2}
"""With camera_info (and vision_msgs)."""

Stamp = tuple[int, int]


def image_message(
    encoding: str, width: int, height: int, data: Any, *, step: int | None = None
) -> Image:
    """An Image with the bytes of an array or a bytes object; by default, its rows fit them."""
    message = Image(width=width, height=height, encoding=encoding)
    message.data.frombytes(data if isinstance(data, bytes) else data.tobytes())
    message.step = len(message.data) // max(1, height) if step is None else step
    return message


def rgb8(rgb: np.ndarray) -> Image:
    """An Image of these pixels, uint8 (H, W, 3) RGB."""
    return image_message("rgb8", rgb.shape[1], rgb.shape[0], rgb)


def gray() -> Image:
    """A small Image, for tests that ignore the pixels."""
    return image_message("mono8", 8, 8, bytes(64))


def noise(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """Random pixels, uint8 (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def node_maps(rgb: np.ndarray, doubtful_above: float = 0.05) -> dict[str, np.ndarray]:
    """What the node publishes with the dummy model: its outputs, but no +Inf of doubtful sky."""
    maps = dummy_outputs(rgb)
    doubtful = (maps["labels"] == CITYSCAPES.sky) & (maps["label_uncertainty"] > doubtful_above)
    doubtful &= np.isinf(maps["depth"])
    for name in ("depth", "depth_std"):
        maps[name] = np.where(doubtful, np.float32(np.nan), maps[name])
    return maps


def pinhole(focal: float, width: int = 64, height: int = 48) -> CameraInfo:
    """The CameraInfo of a pinhole camera with the principal point in the middle."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = np.array([focal, 0, cx, 0, focal, cy, 0, 0, 1.0])
    info.p = np.array([focal, 0, cx, 0, 0, focal, cy, 0, 0, 0, 1.0, 0])
    info.r = np.eye(3).ravel()
    return info


def pixels(message: Image) -> np.ndarray:
    """The array in one of the node's messages, whose rows must not be padded."""
    dtype, channels = {"mono8": (np.uint8, 1), "32FC1": (np.float32, 1), "bgr8": (np.uint8, 3)}[
        message.encoding
    ]
    assert message.step == message.width * channels * np.dtype(dtype).itemsize
    values = np.frombuffer(message.data, dtype)
    return values.reshape(message.height, message.width, channels).squeeze()


class CameraRig:
    """One camera and, for each of `topics`, a subscription per reliability of `readers`.

    Topics of plugins are taken for Images. `camera` is the camera's name if the node has several.
    """

    def __init__(
        self,
        domain: int,
        namespace: str,
        *,
        topics: Sequence[str] = tuple(IMAGE_TOPICS),
        readers: Sequence[ReliabilityPolicy] = (RELIABLE,),
        image: type = Image,
        image_topic: str = "image",
        offers: ReliabilityPolicy = RELIABLE,
        calibrated: bool = False,
        camera: str = "",
    ) -> None:
        self.domain, self.namespace = domain, namespace
        self._prefix = f"{camera}/" if camera else ""
        self.ros = TestNode(domain, f"rig{namespace.replace('/', '_')}_{camera}")
        self.received: dict[tuple[str, ReliabilityPolicy], dict[Stamp, Any]] = {}
        for topic in topics:
            for reliability in readers:
                self._subscribe(topic, reliability)
        self.image_topic = f"{namespace}/{self._prefix}{image_topic}"
        self.image_type = image
        self.camera: Publisher | None = None
        self.replace_camera(offers)
        if calibrated:  # otherwise the node would wait a moment for it
            self.info = self.ros.node.create_publisher(
                CameraInfo, f"{namespace}/{self._prefix}camera_info", QoSProfile(depth=5)
            )
        self.frames = 0

    @cached_property
    def remote(self) -> Remote:
        """The node's services and diagnostics."""
        return Remote(self.ros, f"{self.namespace}/emu_perception")

    def _subscribe(self, topic: str, reliability: ReliabilityPolicy) -> None:
        box = self.received[topic, reliability] = {}

        def keep(message: Any) -> None:
            box[message.header.stamp.sec, message.header.stamp.nanosec] = message

        self.ros.node.create_subscription(
            TOPICS.get(topic, Image),
            f"{self.namespace}/emu_perception/{self._prefix}{topic}",
            keep,
            QoSProfile(depth=20, reliability=reliability),
        )

    def replace_camera(self, offers: ReliabilityPolicy, **qos: Any) -> None:
        """Publish images with another QoS."""
        if self.camera is not None:
            self.ros.node.destroy_publisher(self.camera)
        profile = QoSProfile(depth=20, reliability=offers, **qos)
        self.camera = self.ros.node.create_publisher(self.image_type, self.image_topic, profile)

    @contextmanager
    def node(self, *arguments: str, **environment: str) -> Iterator[ChildProcess]:
        """The node as a process, also as `process`; it and the rig end with the block."""
        self.process = self.start_node(*arguments, **environment)
        try:
            with stopping(self.process):
                self.process.wait_for_line("waiting for")
                yield self.process
        finally:
            self.ros.close()

    def start_node(self, *arguments: str, **environment: str) -> ChildProcess:
        """The node as a process, on the CPU if no provider is given; the caller has to stop it."""
        fixed = ("-r", f"__ns:={self.namespace}", "-p", "provider:=cpu")
        command = module("node", "--ros-args", *fixed, *arguments)
        return ChildProcess(*command, domain=self.domain, **environment)

    def send(
        self, message: Any, info: CameraInfo | None = None, stamp: Stamp | None = None
    ) -> Stamp:
        """Publish camera_info and an image with a new stamp, and return the stamp."""
        self.frames += 1
        stamp = stamp or (1_700_000_000 + self.frames, self.frames)
        for part in (info, message) if info is not None else (message,):
            part.header.stamp.sec, part.header.stamp.nanosec = stamp
            part.header.frame_id = FRAME_ID
        if info is not None:
            self.info.publish(info)
        self.camera.publish(message)
        return stamp

    def show(self, message: Any, info: CameraInfo | None = None) -> None:
        """Publish an image with the present time, and run a callback."""
        now = self.ros.node.get_clock().now().nanoseconds
        self.send(message, info, divmod(now, 1_000_000_000))
        self.ros.spin()

    def complete(self, stamp: Stamp) -> bool:
        """Whether every subscription has a message with this stamp."""
        return stamp > (0, 0) and all(stamp in box for box in self.received.values())

    def process_image(self, message: Any, info: CameraInfo | None = None) -> dict[str, Any]:
        """Publish an image, wait for the message on every topic, and return them by topic."""
        stamp = self.send(message, info)
        self.ros.wait_until(lambda: self.complete(stamp), f"all outputs in {self.namespace}")
        return {topic: box[stamp] for (topic, _), box in self.received.items()}

    def wait_for_outputs(self, message: Any | None = None, info: CameraInfo | None = None) -> None:
        """Publish images until one is processed on every topic: then all readers are matched."""
        message = message or gray()
        stamp = (0, 0)

        def show() -> None:
            nonlocal stamp
            stamp = self.send(message, info)
            deadline = time.monotonic() + 1.0
            while not self.complete(stamp) and time.monotonic() < deadline:
                self.ros.spin()

        self.wait_for_node()
        wait_until(lambda: self.complete(stamp), "the first message on every topic", show)

    def wait_for_node(self) -> None:
        """Wait until the node has a compatible subscription to the camera."""
        self.ros.wait_until(self.camera.get_subscription_count, "the subscription")


def counts(process: ChildProcess) -> dict[str, int]:
    """The counts in the node's last line, after `process.stop()`."""
    line = process.wait_for_line(r"frames: (.*)").group(1)
    return {kind: int(count) for count, kind in re.findall(r"(\d+) (\w+)", line)}
