"""Depth images of drivers in metres, against values calculated by hand."""

import struct

import cv2
import numpy as np
import pytest
from bag_messages import compressed, picture, raw

from emu_core.bags.images import UnsupportedImage
from emu_core.recordings.depth_images import depth_metres
from emu_core.recordings.frames import depth_code

MILLIMETRES = np.array([[0, 1, 1500], [65535, 2, 3000]], np.uint16)
METRES = [[0, 0.001, 1.5], [65.535, 0.002, 3]]


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.mark.parametrize(
    "message",
    [
        raw(MILLIMETRES.astype("<u2"), "16UC1"),
        raw(MILLIMETRES.astype(">u2"), "16UC1", big=True),
        raw(MILLIMETRES.astype("<u2"), "mono16"),
        compressed(png(MILLIMETRES), "16UC1; png compressed "),
        compressed(bytes(12) + png(MILLIMETRES), "16UC1; compressedDepth"),
        compressed(bytes(12) + png(MILLIMETRES), "16UC1; compressedDepth png"),
    ],
)
def test_16_bits_are_millimetres(message):
    depth = depth_metres(message)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, METRES, rtol=1e-6)


def test_32_bits_are_metres_and_unusable_values_none():
    values = np.array([[np.nan, np.inf, 1.5], [-1, 0, 300]], "<f4")
    for message in (
        raw(values, "32FC1"),
        raw(values.astype(">f4"), "32FC1", big=True),
    ):
        np.testing.assert_array_equal(depth_metres(message), [[0, 0, 1.5], [0, 0, 300]])


def test_the_inverse_code_of_compressed_depth_is_decoded():
    # A = 100, B = 10: the code 60 stands for 100 / (60 - 10) = 2 m.
    data = struct.pack("<iff", 0, 100, 10) + png(np.array([[0, 60, 35]], np.uint16))
    depth = depth_metres(compressed(data, "32FC1; compressedDepth png"))
    np.testing.assert_allclose(depth, [[0, 2, 4]])


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (raw(picture(), "rgb8"), "unsupported encoding; supported: 32FC1, 16UC1, mono16"),
        (compressed(png(picture()), "bgr8; png compressed"), "not grey with 16 bits"),
        (compressed(bytes(40), "16UC1; compressedDepth rvl"), "only PNG is supported"),
        (compressed(bytes(12) + png(MILLIMETRES)[:-9], "16UC1; compressedDepth"), "damaged"),
        (compressed(bytes(5), "16UC1; compressedDepth"), "only PNG is supported"),
    ],
)
def test_other_images_are_refused(message, problem):
    with pytest.raises(UnsupportedImage, match=problem):
        depth_metres(message)


def test_depth_is_stored_in_256ths_of_a_metre_up_to_the_limit():
    metres = np.array([0, 1.5, 2.001, 80, 80.01, 255.99, 256, 1e6], np.float32)
    limits = {65535 / 256: [0, 384, 512, 20480, 20483, 65533, 0, 0], 80.0: [0, 384, 512, 20480]}
    for limit, codes in limits.items():
        assert depth_code(metres, limit).tolist() == codes + [0] * (8 - len(codes))
