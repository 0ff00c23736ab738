"""Measure the time from a camera's publish to the last output of a separate `emu_node`.

    python -m emu_perception.bench.round_trip --model student.onnx --frames 30
    python -m emu_perception.bench.round_trip --stock-dds

Prints JSON: milliseconds of each answered frame, number of lost frames, seconds from the start of
the process to its first result, and its peak resident memory. `--stock-dds` runs both sides
without this package's Fast DDS profile, to show whether outputs get lost then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sensor_msgs.msg import Image

from emu_core.machine import peak_rss_mb
from emu_core.runtime.perceiver import Perceiver
from emu_core.terminal import accept_any_text, signals_deferred
from emu_perception.bench.path import IMAGE_TOPICS, options_parser, random_image
from emu_perception.ros import dds
from emu_perception.ros.distro import localhost_only
from emu_perception.ros.ros_process import RosProcess, ros_process

_STOCK_PROFILE = (
    '<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles/></dds>'
)
_LOST_AFTER_S = 2.0
_START_TIMEOUT_S = 60.0
_SEND_PERIOD_S = 0.05


class ProbeCamera:
    """Publishes one image at a time; `answered` has the numbers of images with all outputs."""

    def __init__(self, ros: RosProcess, width: int, height: int) -> None:
        self.answered: set[int] = set()
        self._ros, self._image, self._sent = ros, random_image(width, height), 0
        self._images = ros.node.create_publisher(Image, "image", 5)
        self._topics: defaultdict[int, set[str]] = defaultdict(set)
        for topic in IMAGE_TOPICS:
            take = partial(self._take, topic)
            ros.node.create_subscription(Image, f"emu_perception/{topic}", take, 5)

    def send(self, timeout_s: float) -> bool:
        """Publish the next image; return whether all outputs arrive within `timeout_s`."""
        self._sent += 1
        self._image.header.stamp.sec = self._sent
        self._images.publish(self._image)
        answered = self._ros.spin_until(lambda: self._sent in self.answered, timeout_s)
        if self._ros.stop.is_set():
            raise KeyboardInterrupt
        return answered

    def _take(self, topic: str, message: Image) -> None:
        number = message.header.stamp.sec
        self._topics[number].add(topic)
        if len(self._topics[number]) == len(IMAGE_TOPICS):
            self.answered.add(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    accept_any_text()
    parser = options_parser("round_trip", frames=30)
    parser.add_argument("--stock-dds", action="store_true", help="without our Fast DDS profile")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if given.stock_dds:
            stock = Path(folder, "stock.xml")
            stock.write_text(_STOCK_PROFILE, encoding="utf-8")
            # `ros_process` and the node keep a profile that their user has set.
            os.environ.update(dict.fromkeys(dds.PROFILE_VARIABLES, str(stock)))
        os.environ.update(localhost_only())
        height, width = Perceiver(given.model).info.input_size
        with ros_process("camera", []) as ros:
            camera = ProbeCamera(ros, width, height)
            print(json.dumps(measure_trips(camera, given.model, given.threads, given.frames)))
    return 0


def measure_trips(
    camera: ProbeCamera, model: str | None, threads: int, frames: int
) -> dict[str, Any]:
    """Start a node, wait for its first result, and send frames one after the other."""
    milliseconds: list[float] = []
    start = time.monotonic()
    with running_node(model, threads) as process:
        while not camera.send(_SEND_PERIOD_S) and not camera.answered:
            if process.poll() is not None:
                raise RuntimeError(f"emu_node ended with code {process.returncode}")
            if time.monotonic() - start > _START_TIMEOUT_S:
                raise TimeoutError(f"no first result within {_START_TIMEOUT_S:g} s")
        first_result_s = time.monotonic() - start
        for _ in range(frames):
            sent = time.perf_counter()
            if camera.send(_LOST_AFTER_S):
                milliseconds.append(1000 * (time.perf_counter() - sent))
        rss_mb = peak_rss_mb(process.pid)
    return {
        "milliseconds": milliseconds,
        "lost": frames - len(milliseconds),
        "start_to_first_result_s": first_result_s,
        "node_rss_mb": rss_mb,
    }


@contextmanager
def running_node(
    model: str | None, threads: int, parameters: Sequence[str] = ()
) -> Iterator[subprocess.Popen]:
    """Run `emu_node` on the CPU in its own process; `parameters` are of the form NAME:=VALUE."""
    command = [sys.executable, "-m", "emu_perception.node", "--ros-args", "--log-level", "error"]
    given = ["provider:=cpu", f"threads:={threads}", *([f"model:={model}"] if model else [])]
    for parameter in (*given, *parameters):
        command += ["-p", parameter]
    with ExitStack() as stack:
        with signals_deferred():
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            stack.callback(_stop, process)
        yield process


def _stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
