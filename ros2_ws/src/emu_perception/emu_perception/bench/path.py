"""What ROS costs in a frame: from an image's callback to the last publish, minus the inference.

    python -m emu_perception.bench.path --model student.onnx --threads 2 --frames 50

Two nodes answer the same images in turn, in one process: this package's own code (mailbox,
thread, lazy answer, one copy per message) and `usual_node`. Prints JSON, milliseconds by frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from emu_core.runtime.perceiver import Perceiver
from emu_perception.node.camera import Camera
from emu_perception.node.parameters import Parameters
from emu_perception.node.statistics import CameraStatistics, FrameTiming
from emu_perception.node.worker import Worker
from emu_perception.ros import dds

TOPICS = (
    *("semantic/image", "semantic/confidence"),
    *("depth/image", "depth/uncertainty", "depth/camera_info"),
)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]
_WARM_UP = 3
_PATIENCE_S = 30.0


class TimedPerceiver(Perceiver):
    """A Perceiver that tells how long its last inference took; the resize is not inference."""

    inference_ms = 0.0

    def __init__(self, model: str | None, threads: int, clock: Clock) -> None:
        super().__init__(model, threads=threads)
        self._clock = clock

    def _run(self, image: np.ndarray) -> list[np.ndarray]:
        start = self._clock()
        try:
            return super()._run(image)
        finally:
            self.inference_ms = 1000 * (self._clock() - start)


class OurNode(LifecycleNode):
    """A camera of `camera_node` and its thread, with a shared model and an end to wait for."""

    def __init__(self, perceiver: Perceiver) -> None:
        super().__init__("our_node")
        self._statistics = WatchedStatistics()
        parameters = Parameters(self, lambda: True)
        self._camera = Camera(self, "", perceiver, self._statistics, parameters)
        self.trigger_configure()
        self.trigger_activate()  # before, publishers are silent
        self._worker = Worker({"": self._camera})
        self.take_info = self._camera.lens.update

    def callback(self, message: Image) -> None:
        """As the subscription's, but it returns after the last publish."""
        self._statistics.ended.clear()
        self._worker.put("", message)
        if not self._statistics.ended.wait(_PATIENCE_S):
            raise TimeoutError(f"no answer within {_PATIENCE_S:g} s")
        if self._statistics.outcome != "processed":
            problem = self._statistics.snapshot().last_error
            raise RuntimeError(f"an image was {self._statistics.outcome}: {problem}")

    def close(self) -> None:
        """End the thread."""
        self._worker.close()


class WatchedStatistics(CameraStatistics):
    """Tells what became of an image as soon as that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.ended, self.outcome = threading.Event(), ""

    def count_outcome(self, outcome: str, timing: FrameTiming | None = None) -> None:
        super().count_outcome(outcome, timing)
        self.outcome = outcome
        self.ended.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m emu_perception.bench.path")
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    given = parser.parse_args(arguments)
    dds.use_profile()
    rclpy.init()
    try:
        clock = CLOCKS[given.clock]
        print(json.dumps(measure(given.model, given.threads, given.frames, clock)))
    finally:
        rclpy.try_shutdown()
    return 0


def measure(
    model: str | None, threads: int, frames: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Milliseconds of each frame: `ours`, `usual`, both without inference, and `inference`."""
    perceiver = TimedPerceiver(model, threads, clock)
    height, width = perceiver.info.input_size
    ours, usual = OurNode(perceiver), UsualNode(perceiver)
    nodes: dict[str, OurNode | UsualNode] = {"ours": ours, "usual": usual}
    reader = rclpy.create_node("reader")
    for node in nodes.values():
        for topic in TOPICS:
            kind = CameraInfo if topic.endswith("camera_info") else Image
            reader.create_subscription(kind, f"{node.get_name()}/{topic}", lambda _: None, 1)
        node.take_info(_camera_info(width, height))
    _wait_for_readers(ours, usual)
    image = _image(width, height)
    taken: dict[str, list[float]] = {"ours": [], "usual": [], "inference": []}
    for number in range(_WARM_UP + frames):
        for name, node in nodes.items():
            start = clock()
            node.callback(image)
            whole = 1000 * (clock() - start)
            if number >= _WARM_UP:
                taken[name].append(whole - perceiver.inference_ms)
                if node is ours:
                    taken["inference"].append(perceiver.inference_ms)
    ours.close()
    for each in (ours, usual, reader):
        each.destroy_node()
    return taken


def _wait_for_readers(*nodes: Node) -> None:
    publishers = [p for node in nodes for p in node.publishers if p.topic_name.endswith(TOPICS)]
    deadline = time.monotonic() + _PATIENCE_S
    while not all(p.get_subscription_count() for p in publishers):
        if time.monotonic() > deadline:
            raise TimeoutError("the readers do not find their topics: is DDS working here?")
        time.sleep(0.01)


def _camera_info(width: int, height: int) -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    k = np.array(
        [[0.6 * width, 0, (width - 1) / 2], [0, 0.6 * width, (height - 1) / 2], [0, 0, 1]]
    )
    message.k, message.r = k.ravel(), np.eye(3).ravel()
    message.p = np.hstack([k, np.zeros((3, 1))]).ravel()
    return message


def _image(width: int, height: int) -> Image:
    message = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    rng = np.random.default_rng(0)
    message.data.frombytes(rng.integers(0, 256, 3 * width * height, np.uint8).tobytes())
    message.header.frame_id = "camera_optical"
    return message


if __name__ == "__main__":
    sys.exit(main())


class UsualNode(Node):
    """Publishes what `bench.path.TOPICS` names, under its own name."""

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
