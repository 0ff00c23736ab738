"""Measure what ROS costs per frame: from an image's callback to the last publish, minus inference.

    python -m emu_perception.bench.path --model student.onnx --threads 2 --frames 50

Two nodes answer the same images in turn, in one process: this package's node (mailbox, thread,
lazy outputs, one copy per message) and `UsualNode`, written in the usual way. Prints JSON with the
milliseconds of every frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from emu_core.runtime.perceiver import Perceiver
from emu_perception.node.camera import Camera
from emu_perception.node.parameters import Parameters
from emu_perception.node.statistics import CameraStatistics, FrameTiming
from emu_perception.node.worker import Worker
from emu_perception.ros import dds

TOPICS = {
    "semantic/image": Image,
    "semantic/confidence": Image,
    "depth/image": Image,
    "depth/uncertainty": Image,
    "depth/camera_info": CameraInfo,
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_WARM_UP_FRAMES = 3
_TIMEOUT_S = 30.0


class TimedPerceiver(Perceiver):
    """Perceiver that stores the duration of its last inference, without resizing."""

    inference_ms = 0.0

    def __init__(self, model: str | None, threads: int, clock: Callable[[], float]) -> None:
        super().__init__(model, threads=threads)
        self._clock = clock

    def _run(self, image: np.ndarray) -> list[np.ndarray]:
        start = self._clock()
        try:
            return super()._run(image)
        finally:
            self.inference_ms = 1000 * (self._clock() - start)


class OurNode(LifecycleNode):
    """One camera of this package's node with its thread; `callback` waits for the outputs."""

    def __init__(self, perceiver: Perceiver) -> None:
        super().__init__("our_node")
        self._statistics = WatchedStatistics()
        parameters = Parameters(self, lambda: True)
        self._camera = Camera(self, "", perceiver, self._statistics, parameters)
        self.trigger_configure()
        self.trigger_activate()  # publishers of an inactive node publish nothing
        self._worker = Worker({"": self._camera})
        self.take_info = self._camera.lens.update

    def callback(self, message: Image) -> None:
        """Process an image as the subscription does, but return after the last publish."""
        self._statistics.ended.clear()
        self._worker.put("", message)
        if not self._statistics.ended.wait(_TIMEOUT_S):
            raise TimeoutError(f"no answer within {_TIMEOUT_S:g} s")
        if self._statistics.outcome != "processed":
            problem = self._statistics.snapshot().last_error
            raise RuntimeError(f"an image was {self._statistics.outcome}: {problem}")

    def close(self) -> None:
        """End the thread."""
        self._worker.close()


class WatchedStatistics(CameraStatistics):
    """Statistics that signal the outcome of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.ended, self.outcome = threading.Event(), ""

    def count_outcome(self, outcome: str, timing: FrameTiming | None = None) -> None:
        super().count_outcome(outcome, timing)
        self.outcome = outcome
        self.ended.set()


class UsualNode(Node):
    """Node that computes every output in the image callback and copies arrays via bytes."""

    def __init__(self, perceiver: Perceiver) -> None:
        super().__init__("usual_node")
        self._perceiver = perceiver
        self._camera_info: CameraInfo | None = None
        self._publish = {
            topic: self.create_publisher(kind, f"~/{topic}", 5).publish
            for topic, kind in TOPICS.items()
        }

    def take_info(self, message: CameraInfo) -> None:
        """Callback of camera_info."""
        self._camera_info = message

    def callback(self, message: Image) -> None:
        """Callback of images."""
        rgb = np.ndarray((message.height, message.width, 3), np.uint8, bytes(message.data))
        rgb = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), cv2.COLOR_BGR2RGB)
        info = self._camera_info
        seen = self._perceiver.perceive(rgb, (info.k[0], info.k[4]) if info else None)
        confidence = np.round(255 * (1 - seen.label_uncertainty)).astype(np.uint8)
        for topic, array, encoding in (
            ("semantic/image", seen.labels, "mono8"),
            ("semantic/confidence", confidence, "mono8"),
            ("depth/image", seen.depth, "32FC1"),
            ("depth/uncertainty", seen.depth_std, "32FC1"),
        ):
            self._publish[topic](_to_message(array, encoding, message.header))
        if info is not None:
            info.header = message.header
            self._publish["depth/camera_info"](info)


def _to_message(array: np.ndarray, encoding: str, header: Header) -> Image:
    message = Image(height=array.shape[0], width=array.shape[1], encoding=encoding, header=header)
    message.step = array.strides[0]
    message.data.frombytes(array.tobytes())
    return message


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m emu_perception.bench.path")
    parser.add_argument("--model", help="model file (the one that comes with emu_core)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the inference (2)")
    parser.add_argument("--frames", type=int, default=50, help="measured frames (50)")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="(wall)")
    given = parser.parse_args(arguments)
    dds.use_profile()
    rclpy.init()
    try:
        clock = CLOCKS[given.clock]
        print(json.dumps(measure_path(given.model, given.threads, given.frames, clock)))
    finally:
        rclpy.try_shutdown()
    return 0


def measure_path(
    model: str | None, threads: int, frames: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Measure milliseconds per frame.

    Returns:
        Lists by name: `ours` and `usual`, both without inference, and `inference`.
    """
    perceiver = TimedPerceiver(model, threads, clock)
    height, width = perceiver.info.input_size
    ours, usual = OurNode(perceiver), UsualNode(perceiver)
    nodes: dict[str, OurNode | UsualNode] = {"ours": ours, "usual": usual}
    reader = rclpy.create_node("reader")
    for node in nodes.values():
        for topic, kind in TOPICS.items():
            reader.create_subscription(kind, f"{node.get_name()}/{topic}", lambda _: None, 1)
        node.take_info(_camera_info(width, height))
    _wait_for_readers(ours, usual)
    image = random_image(width, height)
    measured: dict[str, list[float]] = {"ours": [], "usual": [], "inference": []}
    for number in range(_WARM_UP_FRAMES + frames):
        for name, node in nodes.items():
            start = clock()
            node.callback(image)
            total_ms = 1000 * (clock() - start)
            if number >= _WARM_UP_FRAMES:
                measured[name].append(total_ms - perceiver.inference_ms)
                if node is ours:
                    measured["inference"].append(perceiver.inference_ms)
    ours.close()
    for each in (ours, usual, reader):
        each.destroy_node()
    return measured


def _wait_for_readers(*nodes: Node) -> None:
    wanted = tuple(TOPICS)
    publishers = [p for node in nodes for p in node.publishers if p.topic_name.endswith(wanted)]
    deadline = time.monotonic() + _TIMEOUT_S
    while not all(p.get_subscription_count() for p in publishers):
        if time.monotonic() > deadline:
            raise TimeoutError("the readers do not find their topics: does DDS work here?")
        time.sleep(0.01)


def _camera_info(width: int, height: int) -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    k = np.array(
        [[0.6 * width, 0, (width - 1) / 2], [0, 0.6 * width, (height - 1) / 2], [0, 0, 1]]
    )
    message.k, message.r = k.ravel(), np.eye(3).ravel()
    message.p = np.hstack([k, np.zeros((3, 1))]).ravel()
    return message


def random_image(width: int, height: int) -> Image:
    """An rgb8 image of noise."""
    message = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    rng = np.random.default_rng(0)
    message.data.frombytes(rng.integers(0, 256, 3 * width * height, np.uint8).tobytes())
    message.header.frame_id = "camera_optical"
    return message


if __name__ == "__main__":
    sys.exit(main())
