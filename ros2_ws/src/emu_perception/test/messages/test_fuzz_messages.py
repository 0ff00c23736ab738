"""Malformed messages: each is refused in words or answered; nothing fails, hangs or grows.

The node's path from a message to all of its answers, in this process, with the dummy model. `make
test-long` sends ten times as many. Every message follows from its number.
"""

import ctypes
import gc
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from helpers.long_tests import ASKED
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from emu_core.runtime.perceiver import Perceiver
from emu_perception.camera_model.distortion import rays, straightening_maps
from emu_perception.camera_model.metric_scale import Lens
from emu_perception.messages.images import ENCODINGS
from emu_perception.messages.points import PointCloudMaker
from emu_perception.node.camera import Responder
from emu_perception.node.frame_outputs import Answer
from emu_perception.node.log_once import Complaints
from emu_perception.node.outputs import OUTPUTS
from emu_perception.node.parameters import Settings
from emu_perception.node.statistics import Age, Health, resident_bytes

COUNT = 20_000 if ASKED else 2_000
SLOWEST_S = 2.0  # of one message; all have a few thousand pixels at most
GROWTH = 5_000_000  # bytes, from the first fifth on
SIZES = (0, 1, 2, 3, 7, 48, 64, 65535, 2**31, 2**32 - 1)
STRANGE = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))
WORDS = ("", "rgb9", "bayer", "32FC1", "16UC1", "\x00", "mono8 ", "jpeg", "é")
LENSES = ("", "plumb_bob", "rational_polynomial", "equidistant", "fisheye")


class Path:
    """One camera's way through the node, and what was published and logged."""

    def __init__(self, perceiver):
        self.published, self.errors = 0, []
        logger = SimpleNamespace(error=self.errors.append, warning=ignore, info=ignore)
        complaints = Complaints(logger)
        self.lens = Lens(perceiver, lambda: False, logger, complaints)
        self.health, self.cloud = Health(), PointCloudMaker()
        self.perceiver, self.rectify = perceiver, False
        self.responder = Responder(
            self.answer, self, SimpleNamespace(tell=ignore), self.health, complaints,
            lambda stamp: Age(0.0),
        )  # fmt: skip

    def answer(self, message):
        settings = Settings(unknown_above=0.5)
        return Answer(message, self.perceiver, self.lens, settings, self.cloud, self.rectify)

    def listened(self):
        return [(output, self) for output in OUTPUTS]

    def publish(self, message):
        self.published += 1


def ignore(*_):
    pass


def malformed_info(rng):
    """A CameraInfo of which some fields make no sense."""
    width, height = rng.choice(SIZES[:-1], 2) if rng.random() < 0.3 else (64, 48)
    message = CameraInfo(width=int(width), height=int(height))
    message.distortion_model = str(rng.choice(LENSES))
    count = int(rng.choice([0, 1, 4, 5, 8, 12, 14, 40]))
    d = rng.normal(0, 0.1, count)
    k = np.array([80.0, 0, 31.5, 0, 80.0, 23.5, 0, 0, 1.0])
    p = np.array([80.0, 0, 31.5, 0, 0, 80.0, 23.5, 0, 0, 0, 1.0, 0])
    for values in (k, p, d):
        if len(values) and rng.random() < 0.4:
            values[rng.integers(len(values))] = rng.choice(STRANGE)
    message.k, message.p, message.d, message.r = k, p, d.tolist(), np.eye(3).ravel()
    message.binning_x, message.binning_y = (int(x) for x in rng.choice([0, 1, 2, 10**6], 2))
    for name in ("x_offset", "y_offset", "width", "height"):
        if rng.random() < 0.1:
            setattr(message.roi, name, int(rng.choice(SIZES)))
    return message


def malformed_image(rng):
    """An Image of which size, step, encoding or data do not fit."""
    encoding = str(rng.choice(WORDS) if rng.random() < 0.2 else rng.choice(ENCODINGS))
    width, height = (int(rng.choice(SIZES) if rng.random() < 0.3 else 16) for _ in range(2))
    message = Image(width=width, height=height, encoding=encoding)
    message.is_bigendian = int(rng.integers(256))
    message.step = int(rng.choice(SIZES) if rng.random() < 0.4 else 16 * rng.integers(1, 5))
    length = rng.integers(4096) if rng.random() < 0.5 else 16 * min(message.step, 64)
    message.data.frombytes(rng.bytes(int(length)))
    return message


def malformed_file(rng):
    """A CompressedImage whose file breaks off, is damaged, or is of no kind."""
    pixels = rng.integers(0, 256, (*rng.integers(1, 40, 2), 3), np.uint8)
    kind = str(rng.choice([".jpg", ".png"]))
    content = bytearray(cv2.imencode(kind, pixels)[1].tobytes())
    for place in rng.integers(len(content), size=rng.integers(6)):
        content[place] = rng.integers(256)
    if rng.random() < 0.3:
        del content[int(rng.integers(len(content))) :]
    message = CompressedImage(format=str(rng.choice([*WORDS, "bgr8; jpeg compressed bgr8"])))
    message.data.frombytes(bytes(content))
    return message


def settled_bytes():
    """What the process holds, but for the few lenses that it remembers and what malloc keeps."""
    rays.cache_clear()
    straightening_maps.cache_clear()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident_bytes()


@pytest.fixture(scope="module")
def perceiver(model):
    return Perceiver(model, threads=1)


def test_malformed_messages_are_refused_or_answered(perceiver):
    path, settled = Path(perceiver), 0
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        if rng.random() < 0.5:
            path.lens.take(malformed_info(rng))
        path.rectify = number % 3 == 0
        message = malformed_image(rng) if number % 2 else malformed_file(rng)
        start = time.monotonic()
        path.responder.respond(message, start)
        assert time.monotonic() - start < SLOWEST_S, f"message {number}"
        assert path.health.counts()["failed"] == 0, f"message {number}: {path.errors[-1]}"
        if number == COUNT // 5:
            settled = settled_bytes()
    counts = path.health.counts()
    assert counts["refused"] > COUNT / 4 and counts["answered"] > COUNT / 20
    assert path.published > counts["answered"]
    assert settled_bytes() - settled < GROWTH
