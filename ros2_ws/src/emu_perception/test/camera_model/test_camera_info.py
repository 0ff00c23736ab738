"""Camera matrices after ROI, binning and resizing, with numbers calculated by hand."""

import math

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="needs ROS 2 messages, from a robot or from the wheels")

from helpers.lenses import stereo_camera as camera
from sensor_msgs.msg import RegionOfInterest

from emu_core.bags.camera_info import (
    CameraInfoError,
    focal_lengths,
    for_image,
    image_size,
    scaled,
)

ROI = RegionOfInterest(x_offset=100, y_offset=40, width=200, height=160)
HALF = {"binning_x": 2, "binning_y": 2}
K = [500, 0, 319.5, 0, 520, 239.5, 0, 0, 1]


@pytest.mark.parametrize(
    ("given", "scale", "offset", "size", "k"),
    [
        # (319.5 + 0.5)·0.5 − 0.5 = 159.5 and (239.5 + 0.5)·0.25 − 0.5 = 59.5
        ({}, (0.5, 0.25), (0, 0), (320, 120), (250, 159.5, 130, 59.5)),
        ({}, (0.5, 0.5), (8, -20), (304, 280), (250, 151.5, 260, 139.5)),
        # cx: 319.5 − 100 = 219.5, then 220·0.5 − 0.5 = 109.5; cy: 199.5, then 99.5
        ({"roi": ROI}, (0.5, 0.5), (0, 0), (100, 80), (250, 109.5, 260, 99.5)),
        ({"binning_x": 2, "binning_y": 4}, (1, 1), (0, 0), (320, 120), (250, 159.5, 130, 59.5)),
        # The ROI is in full pixels, and binned after: (319.5 − 100 + 0.5) / 2 − 0.5 = 109.5
        ({"roi": ROI, **HALF}, (1, 1), (0, 0), (100, 80), (250, 109.5, 260, 99.5)),
    ],
    ids=["scale", "offset", "ROI", "binning", "ROI and binning"],
)
def test_scaled_matrices(given, scale, offset, size, k):
    result = scaled(camera(**given), scale, offset, size)
    fx, cx, fy, cy = k
    assert result.k.tolist() == [fx, 0, cx, 0, fy, cy, 0, 0, 1]
    assert result.p.tolist() == [fx, 0, cx, -50 * fx / 500, 0, fy, cy, 0, 0, 0, 1, 0]
    assert (result.width, result.height) == size
    assert result.roi == RegionOfInterest() and result.binning_x == result.binning_y == 0


def test_distortion_rotation_and_header_are_kept_and_the_given_message_is_not_changed():
    given = camera()
    result = scaled(given, (0.5, 0.5), (1, 1), (320, 240))
    assert result.header == given.header and result.distortion_model == "plumb_bob"
    assert result.d == given.d and np.array_equal(result.r, np.eye(3).ravel())
    assert given == camera()


def test_focal_lengths_and_size_are_those_of_the_image():
    assert focal_lengths(camera()) == (500, 520)
    assert focal_lengths(camera(binning_x=2, binning_y=4)) == (250, 130)
    assert image_size(camera(roi=ROI, **HALF)) == (100, 80)


@pytest.mark.parametrize(
    ("field", "index", "value", "text"),
    [
        *(("k", 0, focal, "no focal length") for focal in (0.0, -500.0, math.nan, math.inf)),
        ("k", 2, math.nan, "infinite, NaN or huge"),
        ("r", 4, math.nan, "infinite, NaN or huge"),
        ("p", 2, math.inf, "infinite, NaN or huge"),
        *(("k", index, 1e300, "huge") for index in (0, 2, 4)),
        *(("k", 0, focal, "no lens has the K .*fx ") for focal in (1e-300, 1e-30, 0.01, 1e8)),
        *(("k", index, center, "no lens has the K") for index in (2, 5) for center in (1e8, -1e8)),
        *(("p", index, focal, "no lens has the P") for index in (0, 5) for focal in (1e-30, 1e8)),
    ],
)
def test_a_camera_without_usable_matrices_is_uncalibrated(field, index, value, text):
    given = camera()
    getattr(given, field)[index] = value
    assert (focal_lengths(given) is None) == (text == "no focal length")
    with pytest.raises(CameraInfoError, match=text) as caught:
        for_image(given, 640, 480)
    assert caught.value.kind == "uncalibrated"


@pytest.mark.parametrize(
    ("given", "size", "k"),
    [
        ({}, (640, 480), K),
        ({}, (320, 240), [250, 0, 159.5, 0, 260, 119.5, 0, 0, 1]),
        ({"width": 0, "height": 0}, (640, 480), K),  # as some drivers leave it
    ],
)
def test_matrices_follow_the_size_of_the_image(given, size, k):
    result = for_image(camera(**given), *size)
    assert result.k.tolist() == k and (result.width, result.height) == size


@pytest.mark.parametrize("size", [(640, 360), (480, 480), (480, 640)])
def test_an_image_of_another_aspect_ratio_has_an_unknown_calibration(size):
    with pytest.raises(CameraInfoError, match="640x480") as caught:
        for_image(camera(), *size)
    assert caught.value.kind == "size"
