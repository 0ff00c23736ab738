"""The camera_info of an image whose binning, ROI or rectification the driver reports wrongly."""

from dataclasses import replace

import numpy as np
import pytest

from emu_core.bags.calibration import pinhole
from emu_core.bags.camera_info import (
    CameraInfoError,
    changed,
    for_image,
    is_rectified_name,
    of_rectified_image,
    size_hint,
)
from emu_core.bags.types import RegionOfInterest

SENSOR = pinhole(1280, 960, 1000.0, 1000.0, 639.5, 479.5)
HALF = pinhole(640, 480, 500.0, 500.0, 319.5, 239.5)
WINDOW = RegionOfInterest(x_offset=320, y_offset=240, width=640, height=480, do_rectify=False)


def binned(info, x, y):
    return replace(info, binning_x=x, binning_y=y)


@pytest.mark.parametrize(
    ("info", "size", "focal", "hint"),
    [
        (SENSOR, (1280, 960), 1000, ""),
        (binned(SENSOR, 1, 1), (1280, 960), 1000, ""),
        (binned(SENSOR, 2, 2), (640, 480), 500, ""),
        # The image has the size before binning, whatever camera_info says.
        (binned(SENSOR, 2, 2), (1280, 960), 1000, "reports 1280x960 and binning 2x2"),
        (binned(SENSOR, 2, 1), (1280, 960), 1000, "reports 1280x960 and binning 2x1"),
        # camera_info already has the binned size, or the image is binned without a word.
        (binned(HALF, 2, 2), (640, 480), 500, "reports 640x480 and binning 2x2"),
        (binned(HALF, 2, 2), (1280, 960), 1000, "reports 640x480 and binning 2x2"),
        (SENSOR, (640, 480), 500, "should report binning 2x2"),
        (SENSOR, (500, 375), 390.625, ""),
        # A region that was not cut out.
        (replace(SENSOR, roi=WINDOW), (640, 480), 1000, ""),
        (replace(SENSOR, roi=WINDOW), (1280, 960), 1000, "reports a ROI, but"),
        # K of the sensor for a binned size, and the reverse.
        (replace(SENSOR, width=640, height=480), (640, 480), 1000, "probably for another binning"),
        (replace(HALF, width=1280, height=960), (1280, 960), 500, "probably for another binning"),
    ],
)
def test_a_binning_that_does_not_fit_the_image_gets_a_hint(info, size, focal, hint):
    assert for_image(info, *size).k[0] == pytest.approx(focal)
    found = size_hint(info, *size)
    assert hint in found and bool(hint) == bool(found)


def test_pixels_that_are_binned_along_one_axis_without_a_word_are_refused_with_the_hint():
    with pytest.raises(CameraInfoError, match=r"1280x960 .* should report binning 2x1") as caught:
        for_image(SENSOR, 640, 960)
    assert caught.value.kind == "size"
    assert for_image(binned(SENSOR, 2, 1), 640, 960).k.tolist()[:5:4] == [500.0, 1000.0]


@pytest.mark.parametrize("size", [(1, 1), (3000, 960), (2, 5000)])
def test_any_size_has_a_hint_or_none(size):
    assert isinstance(size_hint(binned(SENSOR, 7, 5000), *size), str)
    assert isinstance(size_hint(SENSOR, *size), str)


def test_rectified_images_have_p_and_neither_d_nor_r():
    p = [400.0, 0, 320, -40, 0, 410, 240, 0, 0, 0, 1, 0]
    raw = changed(HALF, d=np.array([-0.3, 0.1, 0, 0, 0]), p=np.array(p), r=np.arange(9.0))
    for info in (raw, changed(raw, distortion_model="unheard of")):
        result = of_rectified_image(info)
        assert result.k.tolist() == [400.0, 0, 320, 0, 410, 240, 0, 0, 1]
        assert result.p.tolist() == p and not np.any(result.d)
        assert np.array_equal(np.reshape(result.r, (3, 3)), np.eye(3))
    assert of_rectified_image(changed(raw, p=np.zeros(12))).k.tolist() == HALF.k.tolist()


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/camera/image_rect", True),
        ("/camera/image_rect_color/compressed", True),
        ("/camera/infra1/image_rect_raw", True),
        ("/zed/zed_node/rgb/color/rect/image", True),
        ("/left/rectified", True),
        ("/left/imageRect", True),
        ("/camera/image_raw", False),
        ("/rect/image_raw", False),
        ("/rectify_node/left/image", False),
        ("/camera/image_corrected", False),
        ("/direct/image", False),
        ("/rectangle/image", False),
        ("image", False),
    ],
)
def test_names_of_rectified_images(topic, rectified):
    assert is_rectified_name(topic) == rectified
