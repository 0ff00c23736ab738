"""Measure a separate `emu_node` whose topics are all subscribed, with a camera at a fixed rate.

    python -m emu_perception.bench.rate --model fixed.onnx --seconds 10 --rate 30 --stride 4

This process is the camera, and calls the node's services for parameters and lifecycle meanwhile. A
third process subscribes to all topics. Prints JSON: `sent` and `answered` frames (those with a
message on every topic), `topics` and `services` with the milliseconds of each message and call,
and `milliseconds` from each answered frame's publish to its last message.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from emu_core.runtime.perceiver import Perceiver
from emu_core.terminal import accept_any_text
from emu_perception.bench.path import calibrated, options_parser, random_image
from emu_perception.bench.round_trip import running_node
from emu_perception.node.outputs import published
from emu_perception.ros.distro import localhost_only
from emu_perception.ros.ros_process import RosProcess, ros_process
from emu_perception.ros.services import RepeatedCall

Times = dict[str, dict[int, float]]
"""Milliseconds from an image's publish to a message, by topic and by the stamp of both in ns."""

NODE = "/emu_perception"
_TIMEOUT_S = 60.0
_CALL_PERIOD_S = 0.05
_LAST_MESSAGES_S = 2.0
_STAMP = struct.Struct("<4xiI")  # of a little-endian message that begins with a header


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    accept_any_text()
    parser = options_parser("rate", frames=None)
    add = parser.add_argument
    add("--seconds", type=float, default=10.0, help="duration of the measurement (10)")
    add("--rate", type=float, default=30.0, help="images per second (30)")
    add("--stride", type=int, default=4, help="of the clouds, as the node's parameter (4)")
    add("--without", nargs="*", default=(), help="topics that nobody subscribes to")
    given = parser.parse_args(arguments)
    os.environ.update(localhost_only())
    print(json.dumps(measure_rate(**vars(given))))
    return 0


def measure_rate(
    model: str | None,
    threads: int,
    seconds: float,
    rate: float,
    stride: int,
    without: Sequence[str] = (),
) -> dict[str, Any]:
    """Start the node and a reader, and publish images for some seconds."""
    info = Perceiver(model).info
    height, width = info.input_size
    topics = {name: out.kind for name, out in published(info).items() if name not in without}
    parameters = (f"stride:={stride}", "probability_groups:=['road', 'person', 'car']")
    with (
        ros_process("camera", []) as ros,
        running_node(model, threads, parameters) as process,
        Reader() as reader,
    ):
        camera, services = Camera(ros, width, height), Services(ros)

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"emu_node ended with code {process.returncode}")
            return camera.has_node and services.are_ready()

        _wait(ros, ready, "emu_node did not start")
        reader.subscribe(topics)
        timers = [ros.node.create_timer(1 / rate, camera.send)]
        _wait(ros, lambda: reader.count() > 0, "no message on some topics")
        warm_up = len(camera.sent)
        timers.append(ros.node.create_timer(_CALL_PERIOD_S, services.call))
        ros.spin_until(lambda: False, seconds)
        for timer in timers:
            ros.node.destroy_timer(timer)
        _wait(ros, lambda: not services.waiting, "a service did not answer")
        times = reader.finish()
    sent = set(camera.sent[warm_up:])
    frames = [[times[t].get(stamp) for t in topics] for stamp in sent]
    whole = [max(ms) for ms in frames if None not in ms]  # type: ignore[type-var]
    return {
        "sent": len(sent),
        "answered": len(whole),
        "milliseconds": whole,
        "topics": {t: [ms for s, ms in times[t].items() if s in sent] for t in topics},
        "services": services.milliseconds,
    }


class Camera:
    """Publishes images with their camera_info; `sent` has the stamps in nanoseconds."""

    def __init__(self, ros: RosProcess, width: int, height: int) -> None:
        self.sent: list[int] = []
        self._image, self._info = random_image(width, height), calibrated(width, height)
        self._images = ros.node.create_publisher(Image, "image", 5)
        self._infos = ros.node.create_publisher(CameraInfo, "camera_info", 5)

    @property
    def has_node(self) -> bool:
        return min(p.get_subscription_count() for p in (self._images, self._infos)) > 0

    def send(self) -> None:
        """Publish the next image."""
        now = time.time_ns()
        for message in (self._info, self._image):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        self._infos.publish(self._info)
        self._images.publish(self._image)
        self.sent.append(now)


class Services:
    """Calls services of the node, one call of each at a time."""

    def __init__(self, ros: RosProcess) -> None:
        value = Parameter("overlay_alpha", value=0.5).to_parameter_msg()
        requests = {
            "get_parameters": (GetParameters, GetParameters.Request(names=["stride"])),
            "set_parameters": (SetParameters, SetParameters.Request(parameters=[value])),
            "get_state": (GetState, GetState.Request()),
        }
        self._requests = {name: request for name, (_, request) in requests.items()}
        self._clients = {
            name: ros.node.create_client(kind, f"{NODE}/{name}")
            for name, (kind, _) in requests.items()
        }
        self._first = [RepeatedCall(c, self._requests[name]) for name, c in self._clients.items()]
        self.waiting: set[str] = set()
        self.milliseconds: dict[str, list[float]] = {name: [] for name in requests}

    def are_ready(self) -> bool:
        """Return whether each service has answered a first call, which may have to be repeated."""
        return all(first.is_done() for first in self._first)

    def call(self) -> None:
        """Call each service that has answered the last call."""
        for name in self._requests.keys() - self.waiting:
            self.waiting.add(name)
            future = self._clients[name].call_async(self._requests[name])
            future.add_done_callback(partial(self._take, name, time.perf_counter()))

    def _take(self, name: str, start: float, _: object) -> None:
        self.waiting.discard(name)
        self.milliseconds[name].append(1000 * (time.perf_counter() - start))


class Reader:
    """A process that subscribes to topics of the node."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_read, args=(other,), daemon=True)

    def __enter__(self) -> Reader:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def subscribe(self, topics: Mapping[str, type]) -> None:
        """Subscribe, and return when every topic has its publisher."""
        self._ask(dict(topics))

    def count(self) -> int:
        """Return the smallest number of messages on a topic."""
        return min(map(len, self._ask("times").values()))

    def finish(self) -> Times:
        """Wait for the last messages and return all times."""
        return self._ask("finish")

    def _ask(self, question: object) -> Any:
        self._connection.send(question)
        if not self._connection.poll(_TIMEOUT_S):
            raise TimeoutError(f"the reader of the topics does not answer within {_TIMEOUT_S:g} s")
        return self._connection.recv()


def _read(connection: Connection) -> None:
    """Answer the questions of `Reader` in its process."""
    times: Times = {}
    with ros_process("reader", []) as ros:
        while not ros.stop.is_set():
            ros.spin_once(0.01)
            if not connection.poll():
                continue
            question = connection.recv()
            if isinstance(question, dict):
                times = _subscribe(ros, question)
            elif question == "finish":
                ros.spin_until(lambda: False, _LAST_MESSAGES_S)
            connection.send(None if isinstance(question, dict) else times)


def _subscribe(ros: RosProcess, topics: Mapping[str, type]) -> Times:
    """Subscribe to topics of the node; the times of the messages come into the result."""
    times: Times = {topic: {} for topic in topics}

    def take(topic: str, message: bytes) -> None:
        now = time.time_ns()
        sec, nanosec = _STAMP.unpack_from(message)
        stamp = sec * 10**9 + nanosec
        times[topic][stamp] = (now - stamp) / 1e6

    subscribe = partial(ros.node.create_subscription, qos_profile=QoSProfile(depth=5), raw=True)
    for topic, kind in topics.items():  # serialised messages, so that a reader in Python keeps up
        subscribe(kind, f"{NODE}/{topic}", partial(take, topic))
    names = [f"{NODE}/{topic}" for topic in topics]
    _wait(ros, lambda: all(map(ros.node.count_publishers, names)), "the topics do not appear")
    return times


def _wait(ros: RosProcess, condition: Callable[[], bool], problem: str) -> None:
    if not ros.spin_until(condition, _TIMEOUT_S):
        if ros.stop.is_set():
            raise KeyboardInterrupt
        raise TimeoutError(f"{problem} within {_TIMEOUT_S:g} s: does DDS work here?")


if __name__ == "__main__":
    sys.exit(main())
