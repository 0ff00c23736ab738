"""Malformed messages are refused or processed; nothing fails, hangs or needs more memory.

They go through a `Camera` with all its outputs, in this process, with the dummy model. `make
test-long` sends ten times as many. Every message follows from its number.
"""

import ctypes
import gc
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from helpers import labels
from helpers.contract import ASKED
from helpers.fake_node import FakeNode, make_camera
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from emu_core.bags.distortion import rays, rectification_maps
from emu_core.bags.images import ENCODINGS
from emu_core.runtime.perceiver import Perceiver
from emu_perception.node.statistics import resident_bytes

COUNT = 20_000 if ASKED else 2_000
SLOWEST_S = 2.0  # of one message; all have a few thousand pixels at most
GROWTH = 5_000_000  # bytes, after the first fifth
SIZES = (0, 1, 2, 3, 7, 48, 64, 65535, 2**31, 2**32 - 1)
STRANGE = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))
WORDS = ("", "rgb9", "bayer", "32FC1", "16UC1", "\x00", "mono8 ", "jpeg", "é")
LENSES = ("", "plumb_bob", "rational_polynomial", "equidistant", "fisheye")


def malformed_info(rng):
    """A CameraInfo with some senseless fields."""
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
    """An Image with inconsistent size, step, encoding or data."""
    encoding = str(rng.choice(WORDS) if rng.random() < 0.2 else rng.choice(ENCODINGS))
    width, height = (int(rng.choice(SIZES) if rng.random() < 0.3 else 16) for _ in range(2))
    message = Image(width=width, height=height, encoding=encoding)
    message.is_bigendian = int(rng.integers(256))
    message.step = int(rng.choice(SIZES) if rng.random() < 0.4 else 16 * rng.integers(1, 5))
    length = rng.integers(4096) if rng.random() < 0.5 else 16 * min(message.step, 64)
    message.data.frombytes(rng.bytes(int(length)))
    return message


def malformed_file(rng):
    """A CompressedImage whose file is truncated or damaged."""
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
    """The memory of this process, without the cached lenses and what malloc keeps."""
    rays.cache_clear()
    rectification_maps.cache_clear()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident_bytes()


def test_malformed_messages_are_refused_or_processed(model):
    assert labels.label_info_type()  # with the stand-in, there are points as well
    node, perceiver = FakeNode(), Perceiver(model, threads=1)
    cameras = [
        make_camera(node, perceiver, rectify, unknown_above=0.5) for rectify in (True, False)
    ]
    statistics = cameras[1].statistics = cameras[0].statistics
    settled = published = 0
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        if rng.random() < 0.5:
            info = malformed_info(rng)
            for camera in cameras:
                camera.lens.update(info)
        message = malformed_image(rng) if number % 2 else malformed_file(rng)
        start = time.monotonic()
        cameras[min(number % 3, 1)].process(message, start)
        assert time.monotonic() - start < SLOWEST_S, f"message {number}"
        problem = statistics.snapshot().last_error
        assert statistics.counts()["failed"] == 0, f"message {number}: {problem}"
        for messages in node.published.values():
            published += len(messages)
            messages.clear()
        if number == COUNT // 5:
            settled = settled_bytes()
    counts = statistics.counts()
    assert counts["refused"] > COUNT / 4 and counts["processed"] > COUNT / 20
    assert published > counts["processed"]
    assert settled_bytes() - settled < GROWTH
