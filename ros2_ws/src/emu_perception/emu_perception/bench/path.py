"""Measure the time from an image's callback to the last publish, without inference.

    python -m emu_perception.bench.path --model student.onnx --threads 2 --frames 50

Two nodes process the same images alternately, in one process: one whose maps and camera_info have
subscribers (`MAP_TOPICS`), and one of which every topic has one. Both have the default
parameters. Prints JSON with the milliseconds of every frame.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from emu_core.runtime.perceiver import Perceiver
from emu_core.terminal import accept_any_text
from emu_perception.node.camera import Camera
from emu_perception.node.outputs import published
from emu_perception.node.parameters import Parameters
from emu_perception.node.statistics import CameraStatistics, FrameTiming
from emu_perception.node.worker import Worker
from emu_perception.ros.ros_process import RosProcess, ros_process

IMAGE_TOPICS = ("semantic/image", "semantic/confidence", "depth/image", "depth/uncertainty")
MAP_TOPICS = (*IMAGE_TOPICS, "depth/camera_info")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_WARM_UP_FRAMES = 3
_TIMEOUT_S = 30.0


class TimedPerceiver(Perceiver):
    """Perceiver that stores the duration of its last inference, without resizing."""

    clock: Callable[[], float] = time.perf_counter
    inference_ms = 0.0

    def _run(self, image: np.ndarray, logits: bool = False) -> list[np.ndarray]:
        start = self.clock()
        maps = super()._run(image, logits)
        self.inference_ms = 1000 * (self.clock() - start)
        return maps


class WatchedStatistics(CameraStatistics):
    """Statistics that pass on the outcome of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: queue.SimpleQueue[str] = queue.SimpleQueue()

    def count_outcome(self, outcome: str, timing: FrameTiming | None = None) -> None:
        super().count_outcome(outcome, timing)
        self.outcomes.put(outcome)


class TimedNode(LifecycleNode):
    """One camera of this package's node with its thread; `callback` waits for the outputs."""

    def __init__(self, name: str, perceiver: Perceiver) -> None:
        super().__init__(name)
        self._statistics = WatchedStatistics()
        parameters = Parameters(self, lambda: True)
        camera = Camera(self, "", perceiver, self._statistics, parameters)
        self.trigger_configure()
        self.trigger_activate()  # publishers of an inactive node publish nothing
        self._worker = Worker({"": camera})
        self.take_info, self.close = camera.lens.update, self._worker.close

    def callback(self, message: Image) -> None:
        """Process an image as the subscription does, but return after the last publish."""
        self._worker.put("", message)
        try:
            outcome = self._statistics.outcomes.get(timeout=_TIMEOUT_S)
        except queue.Empty:
            raise TimeoutError(f"no answer within {_TIMEOUT_S:g} s") from None
        if outcome != "processed":
            problem = self._statistics.snapshot().last_error
            raise RuntimeError(f"an image was {outcome}: {problem}")


def _to_message(array: np.ndarray, encoding: str, header: Header) -> Image:
    message = Image(height=array.shape[0], width=array.shape[1], encoding=encoding, header=header)
    message.step = array.strides[0]
    message.data.frombytes(array.tobytes())
    return message


def options_parser(program: str, frames: int | None) -> argparse.ArgumentParser:
    """Return a parser with the options of the programs; `frames` is a default, or no option."""
    parser = argparse.ArgumentParser(prog=f"python -m emu_perception.bench.{program}")
    add = parser.add_argument
    add("--model", help="model file (the one that comes with emu_core)")
    add("--threads", type=int, default=2, help="CPU threads of the inference (2)")
    if frames is not None:
        add("--frames", type=int, default=frames, help=f"measured frames ({frames})")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    accept_any_text()
    parser = options_parser("path", frames=50)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="(wall)")
    given = parser.parse_args(arguments)
    perceiver = TimedPerceiver(given.model, threads=given.threads)
    perceiver.clock = CLOCKS[given.clock]
    with ros_process("reader", []) as ros:
        print(json.dumps(measure_path(ros, perceiver, given.frames)))
    return 0


def measure_path(
    ros: RosProcess, perceiver: TimedPerceiver, frames: int
) -> dict[str, list[float]]:
    """Measure milliseconds per frame; `ros` has the node that subscribes to the outputs.

    Returns:
        Lists by name: `maps` and `all_topics`, both without inference, and `inference`.
    """
    height, width = perceiver.info.input_size
    kinds = {topic: output.kind for topic, output in published(perceiver.info).items()}
    subscribed = {"maps": MAP_TOPICS, "all_topics": tuple(kinds)}
    nodes = {name: TimedNode(f"{name}_node", perceiver) for name in subscribed}
    topics = [f"/{name}_node/{topic}" for name in nodes for topic in subscribed[name]]
    for topic in topics:
        kind = kinds[topic.split("/", 2)[2]]
        ros.node.create_subscription(kind, topic, lambda _: None, 1)
    for node in nodes.values():
        node.take_info(calibrated(width, height))
    publishers = [p for node in nodes.values() for p in node.publishers]
    outputs = [p for p in publishers if p.topic_name in topics]
    if not ros.spin_until(lambda: all(p.get_subscription_count() for p in outputs), _TIMEOUT_S):
        raise TimeoutError("the readers do not find their topics: does DDS work here?")
    image = random_image(width, height)
    measured: dict[str, list[float]] = {name: [] for name in (*nodes, "inference")}
    for number in range(_WARM_UP_FRAMES + frames):
        for name, node in nodes.items():
            start = perceiver.clock()
            node.callback(image)
            total_ms = 1000 * (perceiver.clock() - start)
            if number >= _WARM_UP_FRAMES:
                measured[name].append(total_ms - perceiver.inference_ms)
                if name == "maps":
                    measured["inference"].append(perceiver.inference_ms)
    for node in nodes.values():
        node.close()
        node.destroy_node()
    return measured


def calibrated(width: int, height: int) -> CameraInfo:
    """Return the camera_info of a pinhole camera."""
    k = np.diag([0.6 * width, 0.6 * width, 1])
    k[:2, 2] = (width - 1) / 2, (height - 1) / 2
    p = np.hstack([k, np.zeros((3, 1))])
    fields = {"width": width, "height": height, "distortion_model": "plumb_bob"}
    return CameraInfo(**fields, k=k.ravel(), r=np.eye(3).ravel(), p=p.ravel())


def random_image(width: int, height: int) -> Image:
    """Return an rgb8 image of noise."""
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return _to_message(rgb, "rgb8", Header(frame_id="camera_optical"))


if __name__ == "__main__":
    sys.exit(main())
