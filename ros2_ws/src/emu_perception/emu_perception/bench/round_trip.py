"""Measure from a camera's publish to the last output, with `emu_node` as a separate process.

    python -m emu_perception.bench.round_trip --model student.onnx --frames 30
    python -m emu_perception.bench.round_trip --stock-dds

Prints JSON: milliseconds of each answered frame, number of lost frames, seconds from the process's
start to its first result, and the peak of its resident memory. `--stock-dds` runs both sides
without this package's Fast DDS profile, to show whether outputs get lost then.
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
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from emu_core.runtime.perceiver import Perceiver
from emu_perception.bench.path import random_image
from emu_perception.ros import dds
from emu_perception.ros.distro import localhost_only

TOPICS = ("semantic/image", "semantic/confidence", "depth/image", "depth/uncertainty")
_STOCK_PROFILE = (
    '<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles/></dds>'
)
_LOST_AFTER_S = 2.0
_START_TIMEOUT_S = 60.0
_SEND_PERIOD_S = 0.05


class ProbeCamera(Node):
    """Publishes one image at a time and receives the outputs."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__("camera")
        self._image = random_image(width, height)
        self._images = self.create_publisher(Image, "image", QoSProfile(depth=5))
        self._topics: defaultdict[int, set[str]] = defaultdict(set)
        self._sent = 0
        for topic in TOPICS:
            name, take = f"emu_perception/{topic}", partial(self._take, topic)
            self.create_subscription(Image, name, take, QoSProfile(depth=5))

    def send(self) -> int:
        """Publish the next image; returns its number."""
        self._sent += 1
        self._image.header.stamp.sec = self._sent
        self._images.publish(self._image)
        return self._sent

    def spin_until_answered(self, number: int, timeout_s: float) -> bool:
        """Receive outputs until an image has all of them; False after the timeout."""
        deadline = time.monotonic() + timeout_s
        while not self._answered(number):
            if time.monotonic() > deadline:
                return False
            rclpy.spin_once(self, timeout_sec=0.01)
        return True

    def answered_any(self) -> bool:
        """Whether any image has all outputs."""
        return any(map(self._answered, range(self._sent)))

    def _answered(self, number: int) -> bool:
        return len(self._topics[number]) == len(TOPICS)

    def _take(self, topic: str, message: Image) -> None:
        self._topics[message.header.stamp.sec].add(topic)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m emu_perception.bench.round_trip")
    parser.add_argument("--model", help="model file (the one that comes with emu_core)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the inference (2)")
    parser.add_argument("--frames", type=int, default=30, help="measured frames (30)")
    parser.add_argument("--stock-dds", action="store_true", help="without our Fast DDS profile")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if given.stock_dds:
            stock = Path(folder, "stock.xml")
            stock.write_text(_STOCK_PROFILE)
            # The node keeps a profile that its user has set.
            os.environ.update(dict.fromkeys(dds.PROFILE_VARIABLES, str(stock)))
        dds.use_profile()
        os.environ.update(localhost_only())
        height, width = Perceiver(given.model).info.input_size
        rclpy.init()
        try:
            camera = ProbeCamera(width, height)
            print(json.dumps(measure_trips(camera, given.model, given.threads, given.frames)))
            camera.destroy_node()
        finally:
            rclpy.try_shutdown()
    return 0


def measure_trips(
    camera: ProbeCamera, model: str | None, threads: int, frames: int
) -> dict[str, Any]:
    """Start a node, wait for its first result, and send frames one after the other."""
    milliseconds: list[float] = []
    start = time.monotonic()
    with _node(model, threads) as process:
        _wait_for_first(camera, process, start)
        first_result_s = time.monotonic() - start
        for _ in range(frames):
            sent = time.perf_counter()
            if camera.spin_until_answered(camera.send(), _LOST_AFTER_S):
                milliseconds.append(1000 * (time.perf_counter() - sent))
        rss_mb = peak_rss_mb(process.pid)
    return {
        "milliseconds": milliseconds,
        "lost": frames - len(milliseconds),
        "start_to_first_result_s": first_result_s,
        "node_rss_mb": rss_mb,
    }


def peak_rss_mb(pid: int) -> float:
    """Largest resident memory that a process has had, MiB, as Linux counts it."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    if found is None:
        raise ValueError(f"process {pid} has no VmHWM: has it ended?")
    return int(found[1]) / 1024


def _wait_for_first(camera: ProbeCamera, process: subprocess.Popen, start: float) -> None:
    while not camera.spin_until_answered(camera.send(), _SEND_PERIOD_S):
        if camera.answered_any():
            return
        if process.poll() is not None:
            raise RuntimeError(f"emu_node ended with code {process.returncode}")
        if time.monotonic() - start > _START_TIMEOUT_S:
            raise TimeoutError(f"no first result within {_START_TIMEOUT_S:g} s")


@contextmanager
def _node(model: str | None, threads: int) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "emu_perception.node", "--ros-args", "--log-level", "error"]
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
