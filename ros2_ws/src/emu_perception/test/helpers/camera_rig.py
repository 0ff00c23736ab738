"""A camera before the node and readers behind its topics, in the test's process.

rig = CameraRig(domain, "/front")
with rig.node("-p", f"model:={model}"):          # emu_node as a process, in namespace /front
    rig.wait_for_answers()
    answers = rig.ask(image_message("rgb8", 64, 48, pixels))
    answers["semantic/image"].data
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from helpers.ros_processes import TIMEOUT_S, ChildProcess, TestNode, module, stopping, wait_until

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
FRAME_ID = "camera_optical"
MAPS = {
    "semantic/image": Image,
    "semantic/confidence": Image,
    "semantic/uncertainty": Image,
    "depth/image": Image,
    "depth/uncertainty": Image,
    "overlay": Image,
    "overlay/compressed": CompressedImage,
}
"""What the node answers to every image, without camera_info."""

OF_A_KNOWN_LENS = {"depth/camera_info": CameraInfo, "points": PointCloud2}
"""What it answers besides, with camera_info (and vision_msgs)."""


def image_message(
    encoding: str, width: int, height: int, data: Any, *, step: int | None = None
) -> Image:
    """An Image with the bytes of an array or a bytes object; `step` fits them unless given."""
    message = Image(width=width, height=height, encoding=encoding)
    message.data.frombytes(data if isinstance(data, bytes) else data.tobytes())
    message.step = len(message.data) // max(1, height) if step is None else step
    return message


def picture(seed: int = 0, height: int = 48, width: int = 64) -> tuple[np.ndarray, Image]:
    """Random pixels, uint8 (H, W, 3) RGB, and the image message that holds them."""
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return rgb, image_message("rgb8", width, height, rgb)


def pixels(message: Image) -> np.ndarray:
    """The array in one of the node's answers, whose rows must not be padded."""
    dtype, channels = {"mono8": (np.uint8, 1), "32FC1": (np.float32, 1), "bgr8": (np.uint8, 3)}[
        message.encoding
    ]
    assert message.step == message.width * channels * np.dtype(dtype).itemsize
    values = np.frombuffer(message.data, dtype)
    return values.reshape(message.height, message.width, channels).squeeze()


class CameraRig:
    """One camera and, on each of `topics`, a reader per reliability of `readers`.

    `camera` is the name that it has among the several of one node.
    """

    def __init__(
        self,
        domain: int,
        namespace: str,
        *,
        topics: Sequence[str] = tuple(MAPS),
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
        self.received: dict[tuple[str, ReliabilityPolicy], dict[tuple[int, int], Any]] = {}
        for topic in topics:
            for reliability in readers:
                self.listen(topic, reliability)
        self.image_topic = f"{namespace}/{self._prefix}{image_topic}"
        self.image_type = image
        self.camera = self.make_camera(offers)
        if calibrated:  # the node waits a moment for one that is announced
            self.info = self.ros.node.create_publisher(
                CameraInfo, f"{namespace}/{self._prefix}camera_info", QoSProfile(depth=5)
            )
        self._frames = 0

    def listen(self, topic: str, reliability: ReliabilityPolicy) -> None:
        """Add a reader of one of the node's topics; `received` holds its messages by stamp."""
        box = self.received[topic, reliability] = {}
        self.ros.node.create_subscription(
            {**MAPS, **OF_A_KNOWN_LENS}[topic],
            f"{self.namespace}/emu_perception/{self._prefix}{topic}",
            _into(box),
            QoSProfile(depth=20, reliability=reliability),
        )

    def make_camera(self, offers: ReliabilityPolicy) -> Any:
        """A publisher of images that offers this reliability."""
        qos = QoSProfile(depth=20, reliability=offers)
        return self.ros.node.create_publisher(self.image_type, self.image_topic, qos)

    @contextmanager
    def node(self, *parameters: str, **environment: str) -> Iterator[ChildProcess]:
        """The node as a process, ready for images; stopped at the end, and so is the rig."""
        process = self.start_node(*parameters, **environment)
        try:
            with stopping(process):
                process.wait_for_line("waiting for")
                yield process
        finally:
            self.ros.close()

    def start_node(self, *parameters: str, **environment: str) -> ChildProcess:
        """The node as a process, which is the caller's to stop."""
        command = module("node", "--ros-args", "-r", f"__ns:={self.namespace}", *parameters)
        return ChildProcess(*command, domain=self.domain, **environment)

    def send(
        self,
        message: Any,
        info: CameraInfo | None = None,
        stamp: tuple[int, int] | None = None,
    ) -> tuple[int, int]:
        """Publish an image with a stamp of its own, and its camera_info before; the stamp."""
        self._frames += 1
        stamp = stamp or (1_700_000_000 + self._frames, self._frames)
        for part in (info, message) if info is not None else (message,):
            part.header.stamp.sec, part.header.stamp.nanosec = stamp
            part.header.frame_id = FRAME_ID
        if info is not None:
            self.info.publish(info)
        self.camera.publish(message)
        return stamp

    def answered(self, stamp: tuple[int, int]) -> bool:
        """Whether every reader has the answer with this stamp."""
        return stamp > (0, 0) and all(stamp in box for box in self.received.values())

    def ask(self, message: Any, info: CameraInfo | None = None) -> dict[str, Any]:
        """Publish an image and wait until every reader has its answer; answers by topic."""
        stamp = self.send(message, info)
        self.ros.wait_until(lambda: self.answered(stamp), f"all answers in {self.namespace}")
        return {topic: box[stamp] for (topic, _), box in self.received.items()}

    def wait_for_answers(self, message: Any | None = None, info: CameraInfo | None = None) -> None:
        """Show images until one is answered on every topic: then all readers are matched."""
        message = message or image_message("mono8", 8, 8, bytes(64))
        stamp = (0, 0)

        def show() -> None:
            nonlocal stamp
            stamp = self.send(message, info)
            patience = time.monotonic() + 1.0
            while not self.answered(stamp) and time.monotonic() < patience:
                self.ros.spin()

        self.wait_for_node()
        wait_until(lambda: self.answered(stamp), "the first answer on every topic", show)

    def wait_for_node(self) -> None:
        """Wait until the node subscribes to the camera, compatibly."""
        self.ros.wait_until(self.camera.get_subscription_count, "the subscription")


def counts(process: ChildProcess) -> dict[str, int]:
    """What the node says in its last line, after `process.stop()`."""
    line = process.wait_for_line(r"frames: (.*)", TIMEOUT_S).group(1)
    return {kind: int(count) for count, kind in re.findall(r"(\d+) (\w+)", line)}


def _into(box: dict[tuple[int, int], Any]) -> Any:
    def keep(message: Any) -> None:
        box[message.header.stamp.sec, message.header.stamp.nanosec] = message

    return keep
