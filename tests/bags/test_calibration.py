"""Calibrations from files and fields of view, against numbers computed by hand."""

import math
from pathlib import Path

import pytest

from emu_core.bags.calibration import (
    from_cityscapes,
    from_field_of_view,
    pinhole,
    read_calibration,
    resized,
)
from emu_core.bags.errors import BagError
from emu_core.data.cityscapes import CameraFile
from emu_core.data.sample import DataError

YAML = """\
image_width: 640
image_height: 480
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [500.0, 0, 319.5, 0, 520, 239.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0.001, -0.002, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [450, 0, 320.5, -45, 0, 460, 240.5, 0, 0, 0, 1, 0]}
"""


@pytest.fixture
def front(tmp_path):
    """A calibration file."""
    file = tmp_path / "front.yaml"
    file.write_text(YAML)
    return file


def test_a_calibration_file_of_ros_is_read(front):
    camera = read_calibration(front)
    assert (camera.width, camera.height, camera.distortion_model) == (640, 480, "plumb_bob")
    assert camera.d.tolist() == [-0.3, 0.1, 0.001, -0.002, 0.0]
    assert camera.k.tolist() == [500, 0, 319.5, 0, 520, 239.5, 0, 0, 1]
    assert camera.r.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert camera.p.tolist() == [450, 0, 320.5, -45, 0, 460, 240.5, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (YAML.replace("camera_matrix", "camera_matrox"), "'camera_matrix' is missing"),
        (YAML.replace("319.5, ", ""), "expected 9 numbers, but got"),
        (YAML.replace("-0.3", ".nan"), "expected finite numbers"),
        (YAML.replace("[500.0", "[0.0"), "must be positive"),
        ("- a list\n", "is not a calibration file"),
        ("a: [", "is not a calibration file"),
        (None, "cannot read the calibration .*: No such file"),
    ],
)
def test_another_file_is_refused_with_its_name(front, text, message):
    if text is None:
        front.unlink()
    else:
        front.write_text(text)
    with pytest.raises(BagError, match=message) as caught:
        read_calibration(front)
    assert str(front) in str(caught.value)


def test_resizing_scales_k_and_p_with_the_half_pixel_shift(front):
    half = resized(read_calibration(front), 320, 240)
    assert (half.width, half.height) == (320, 240)
    # (319.5 + 0.5)/2 − 0.5 = 159.5, (320.5 + 0.5)/2 − 0.5 = 160
    assert half.k.tolist() == [250, 0, 159.5, 0, 260, 119.5, 0, 0, 1]
    assert half.p.tolist() == [225, 0, 160, -22.5, 0, 230, 120, 0, 0, 0, 1, 0]
    assert half.d.tolist() == [-0.3, 0.1, 0.001, -0.002, 0.0]


def test_another_aspect_ratio_is_refused():
    with pytest.raises(ValueError, match="for 640x480, but the image is 640x360"):
        resized(pinhole(640, 480, 500, 500, 319.5, 239.5), 640, 360)


def test_a_field_of_view_reaches_from_edge_to_edge():
    camera = from_field_of_view(640, 480, 90)
    # Pixel centres are whole numbers, so the edges lie at −0.5 and 639.5.
    assert math.degrees(math.atan((639.5 - camera.k[2]) / camera.k[0])) == pytest.approx(45)
    assert math.degrees(math.atan((-0.5 - camera.k[2]) / camera.k[0])) == pytest.approx(-45)
    assert camera.k[4] == camera.k[0] and camera.k[5] == 239.5
    assert not any(camera.d)


def test_cityscapes_camera_files_are_for_the_official_image_or_for_their_own():
    official = CameraFile(2262.52, 2265.3, 1096.98, 513.137, 0.209313)
    half = from_cityscapes(official, (512, 1024), Path("aachen.json"))
    assert half.k[0] == pytest.approx(1131.26) and half.k[4] == pytest.approx(1132.65)
    assert half.k[2] == pytest.approx(1097.48 / 2 - 0.5) == half.p[2]
    own = CameraFile(600.0, 600.0, 511.5, 255.5, 0.2)
    assert from_cityscapes(own, (512, 1024), Path("own.json")).k[:3].tolist() == [600, 0, 511.5]
    with pytest.raises(DataError, match=r"cut\.json: the principal point"):
        from_cityscapes(official, (512, 600), Path("cut.json"))
