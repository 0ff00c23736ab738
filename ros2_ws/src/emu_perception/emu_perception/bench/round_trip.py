"""From a camera's publish to the last answer, with `emu_node` as a process of its own.

    python -m emu_perception.bench.round_trip --model student.onnx --frames 30
    python -m emu_perception.bench.round_trip --stock-dds

Prints JSON: milliseconds of each answered frame, how many were lost, seconds from the process's
start to its first result, and the process's peak of resident memory. `--stock-dds` runs both
sides without this package's Fast DDS profile; whether answers get lost then is the point.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from emu_core.runtime.perceiver import Perceiver
from emu_perception.bench.path import _image
from emu_perception.ros import dds
from emu_perception.ros.distro import localhost_only

TOPICS = ("semantic/image", "semantic/confidence", "depth/image", "depth/uncertainty")
_STOCK_PROFILE = (
    '<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles/></dds>'
)
_LOST_AFTER_S = 2.0
_START_PATIENCE_S = 60.0
_EVERY_S = 0.05


class Camera(Node):
    """Publishes one image at a time and takes the answers."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__("camera")
        self._image = _image(width, height)
        self._images = self.create_publisher(Image, "image", QoSProfile(depth=5))
        self._answers: dict[int, set[str]] = {}
        self._number = 0
        for topic in TOPICS:
            self.create_subscription(
                Image, f"emu_perception/{topic}", self._taker(topic), QoSProfile(depth=5)
            )

    def send(self) -> int:
        """Publish the next image; its number."""
        self._number += 1
        self._image.header.stamp.sec = self._number
        self._images.publish(self._image)
        return self._number

    def answered(self, number: int) -> bool:
        """Whether every topic has answered the image."""
        return len(self._answers.get(number, ())) == len(TOPICS)

    def spin_until_answered(self, number: int, timeout_s: float) -> bool:
        """Take answers until all of an image are there; False after the timeout."""
        deadline = time.monotonic() + timeout_s
        while not self.answered(number):
            if time.monotonic() > deadline:
                return False
            rclpy.spin_once(self, timeout_sec=0.01)
        return True

    def _taker(self, topic: str) -> Any:
        def take(message: Image) -> None:
            self._answers.setdefault(message.header.stamp.sec, set()).add(topic)

        return take


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m emu_perception.bench.round_trip")
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--stock-dds", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if given.stock_dds:
            stock = Path(folder, "stock.xml")
            stock.write_text(_STOCK_PROFILE)
            # As a profile of the user's own, which the node keeps.
            os.environ.update(dict.fromkeys(dds.PROFILE_VARIABLES, str(stock)))
        dds.use_profile()
        os.environ.update(localhost_only())
        height, width = Perceiver(given.model).info.input_size
        rclpy.init()
        try:
            camera = Camera(width, height)
            print(json.dumps(measure(camera, given.model, given.threads, given.frames)))
            camera.destroy_node()
        finally:
            rclpy.try_shutdown()
    return 0


def measure(camera: Camera, model: str | None, threads: int, frames: int) -> dict[str, Any]:
    """Start a node, wait for its first result, send frames one after the other."""
    taken: list[float] = []
    lost = 0
    start = time.monotonic()
    with _node(model, threads) as process:
        _wait_for_first(camera, process, start)
        first_result_s = time.monotonic() - start
        for _ in range(frames):
            sent = time.perf_counter()
            if camera.spin_until_answered(camera.send(), _LOST_AFTER_S):
                taken.append(1000 * (time.perf_counter() - sent))
            else:
                lost += 1
        rss_mb = peak_rss_mb(process.pid)
    return {
        "milliseconds": taken,
        "lost": lost,
        "start_to_first_result_s": first_result_s,
        "node_rss_mb": rss_mb,
    }


def peak_rss_mb(pid: int) -> float:
    """Largest resident memory that a process ever had, from Linux's own account."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    if found is None:
        raise ValueError(f"process {pid} has no VmHWM: did it end?")
    return int(found[1]) / 1024


def _wait_for_first(camera: Camera, process: subprocess.Popen, start: float) -> None:
    while not camera.spin_until_answered(camera.send(), _EVERY_S):
        if any(camera.answered(number) for number in range(camera._number)):
            return
        if process.poll() is not None:
            raise RuntimeError(f"emu_node ended with code {process.returncode}")
        if time.monotonic() - start > _START_PATIENCE_S:
            raise TimeoutError(f"no first result within {_START_PATIENCE_S:g} s")


@contextmanager
def _node(model: str | None, threads: int) -> Iterator[subprocess.Popen]:
    command = [
        sys.executable,
        "-m",
        "emu_perception.node",
        "--ros-args",
        "--log-level",
        "error",
    ]
    command += ["-p", f"threads:={threads}"]
    command += ["-p", f"model:={model}"] if model else []
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
