"""Camera matrices through ROI, binning and resizing, with numbers worked out by hand."""

import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from emu_core.runtime.fitting import fit_image
from emu_perception.camera_model.camera_info import (
    CameraInfoError,
    focal_lengths,
    for_image,
    image_size,
    scaled,
)
from emu_perception.camera_model.metric_scale import Lens
from emu_perception.node.log_once import Complaints
from emu_perception.node.parameters import Settings


class Info(SimpleNamespace):
    """A stand-in with the fields of sensor_msgs/CameraInfo, all zero."""

    def __init__(self, **given):
        nothing = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
        fields = {
            "header": "",
            "width": 0,
            "height": 0,
            "distortion_model": "",
            "d": [],
            "k": np.zeros(9),
            "r": np.zeros(9),
            "p": np.zeros(12),
            "binning_x": 0,
            "binning_y": 0,
            "roi": nothing,
        }
        super().__init__(**{**fields, **given})


def camera(**given):
    """A 640x480 camera: fx 500, fy 520, cx 319.5, cy 239.5, 0.1 m right of a stereo partner."""
    fields = {
        "header": "front",
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "d": [0.1, -0.2, 0.001, 0.002, 0.0],
        "k": np.array([500, 0, 319.5, 0, 520, 239.5, 0, 0, 1.0]),
        "r": np.eye(3).ravel(),
        "p": np.array([500, 0, 319.5, -50, 0, 520, 239.5, 0, 0, 0, 1.0, 0]),
    }
    return Info(**{**fields, **given})


def roi(x, y, width, height):
    return SimpleNamespace(x_offset=x, y_offset=y, width=width, height=height)


def test_each_axis_is_scaled_with_the_half_pixel_shift():
    # (319.5 + 0.5)·0.5 − 0.5 = 159.5 and (239.5 + 0.5)·0.25 − 0.5 = 59.5
    result = scaled(camera(), 0.5, 0.25, 0, 0, 320, 120)
    assert result.k.tolist() == [250, 0, 159.5, 0, 130, 59.5, 0, 0, 1]
    assert result.p.tolist() == [250, 0, 159.5, -25, 0, 130, 59.5, 0, 0, 0, 1, 0]
    assert (result.width, result.height) == (320, 120)


def test_an_offset_moves_the_centre_only():
    result = scaled(camera(), 0.5, 0.5, 8, -20, 304, 280)
    assert result.k.tolist() == [250, 0, 151.5, 0, 260, 139.5, 0, 0, 1]


def test_the_middle_of_the_image_stays_the_middle():
    # A centre at (width − 1) / 2 stays there, for whatever size the maps have.
    result = scaled(camera(), 512 / 640, 256 / 480, 0, 0, 512, 256)
    assert result.k[2] == pytest.approx(255.5)
    assert result.k[5] == pytest.approx(127.5)


def test_distortion_rotation_and_header_stay():
    given = camera()
    result = scaled(given, 0.5, 0.5, 0, 0, 320, 240)
    assert result.header == "front" and result.distortion_model == "plumb_bob"
    assert result.d == given.d and np.array_equal(result.r, np.eye(3).ravel())


def test_the_given_message_is_left_as_it_was():
    given = camera()
    scaled(given, 0.5, 0.5, 1, 1, 320, 240)
    assert given.k.tolist() == camera().k.tolist() and given.width == 640


def test_a_region_of_interest_is_applied_and_reset():
    result = scaled(camera(roi=roi(100, 40, 200, 160)), 0.5, 0.5, 0, 0, 100, 80)
    # cx: 319.5 − 100 = 219.5, then 220·0.5 − 0.5 = 109.5; cy: 199.5, then 99.5
    assert result.k.tolist() == [250, 0, 109.5, 0, 260, 99.5, 0, 0, 1]
    assert vars(result.roi) == vars(roi(0, 0, 0, 0))


def test_binning_is_applied_and_reset():
    result = scaled(camera(binning_x=2, binning_y=4), 1, 1, 0, 0, 320, 120)
    assert result.k.tolist() == [250, 0, 159.5, 0, 130, 59.5, 0, 0, 1]
    assert (result.binning_x, result.binning_y) == (0, 0)


def test_a_region_counts_in_full_pixels_and_is_binned_after():
    given = camera(roi=roi(100, 40, 200, 160), binning_x=2, binning_y=2)
    result = scaled(given, 1, 1, 0, 0, 100, 80)
    # (319.5 − 100 + 0.5) / 2 − 0.5 = 109.5
    assert result.k.tolist() == [250, 0, 109.5, 0, 260, 99.5, 0, 0, 1]
    assert image_size(given) == (100, 80)


def test_a_point_lands_where_the_resized_image_shows_it():
    point = np.array([0.3, -0.2, 2.0])
    before = np.reshape(camera().k, (3, 3)) @ point / 2.0
    after = np.reshape(scaled(camera(), 0.8, 0.6, 3, 5, 500, 280).k, (3, 3)) @ point / 2.0
    assert after[0] == pytest.approx((before[0] + 0.5) * 0.8 - 0.5 - 3)
    assert after[1] == pytest.approx((before[1] + 0.5) * 0.6 - 0.5 - 5)


def test_focal_lengths_are_those_of_the_image_sent():
    assert focal_lengths(camera()) == (500, 520)
    assert focal_lengths(camera(binning_x=2, binning_y=4)) == (250, 130)


@pytest.mark.parametrize("focal", [0.0, -500.0, math.nan, math.inf])
def test_a_camera_without_a_usable_focal_length_is_uncalibrated(focal):
    given = camera(k=np.array([focal, 0, 319.5, 0, 520, 239.5, 0, 0, 1.0]))
    assert focal_lengths(given) is None
    with pytest.raises(CameraInfoError) as caught:
        for_image(given, 640, 480)
    assert caught.value.kind == "uncalibrated"


def test_matrices_that_are_not_finite_are_no_calibration():
    for broken in (
        camera(k=np.array([500, 0, math.nan, 0, 520, 239.5, 0, 0, 1.0])),
        camera(p=np.array([500, 0, 319.5, math.inf, 0, 520, 239.5, 0, 0, 0, 1.0, 0])),
    ):
        with pytest.raises(CameraInfoError, match="no finite numbers"):
            for_image(broken, 640, 480)


def test_an_image_of_the_described_size_keeps_its_matrices():
    assert for_image(camera(), 640, 480).k.tolist() == camera().k.tolist()


def test_an_image_resized_on_its_way_gets_scaled_matrices():
    assert for_image(camera(), 320, 240).k.tolist() == [250, 0, 159.5, 0, 260, 119.5, 0, 0, 1]


def test_a_driver_that_leaves_the_size_out_describes_the_image_itself():
    result = for_image(camera(width=0, height=0), 640, 480)
    assert result.k.tolist() == camera().k.tolist() and (result.width, result.height) == (640, 480)


@pytest.mark.parametrize("size", [(640, 360), (480, 480), (480, 640)])
def test_an_image_of_another_shape_has_an_unknown_lens(size):
    with pytest.raises(CameraInfoError, match="640x480") as caught:
        for_image(camera(), *size)
    assert caught.value.kind == "size"


# --- the lens


class Logger:
    def __init__(self):
        self.lines = []

    def info(self, text):
        self.lines.append(("info", text))

    def warning(self, text):
        self.lines.append(("warning", text))

    def error(self, text):
        self.lines.append(("error", text))


def lens(canonical_focal=400.0, horizontal_fov=(50.0, 90.0), announced=bool, fit="stretch"):
    """A lens before a 256x512 model."""
    perceiver = SimpleNamespace(
        info=SimpleNamespace(canonical_focal=canonical_focal, horizontal_fov=horizontal_fov),
        fitting=lambda height, width: fit_image((height, width), (256, 512), (256, 512), fit),
    )
    logger = Logger()
    return Lens(perceiver, announced, logger, Complaints(logger)), logger.lines


def test_the_scale_is_told_once_and_again_when_it_changes():
    made, lines = lens()
    # Stretched by 0.8 and 0.8 from 640x320: 500 px become 400, 520 become 416; √(400·416) = 408.
    info = camera(height=320)
    for _ in range(3):
        made.take(info)
        made.judge(made.of_image(640, 320))
    assert lines == [("info", "scale: camera 408 px vs canonical 400 px -> x1.020")]
    made.take(camera(height=320, k=info.k * [2, 1, 1, 1, 2, 1, 1, 1, 1]))
    made.judge(made.of_image(640, 320))
    assert lines[1:] == [
        ("info", "scale: camera 816 px vs canonical 400 px -> x2.040"),
        (
            "warning",
            "the camera sees 35° across, and the model was trained on 50° to 90°: expect worse "
            "classes and depths",
        ),
    ]


@pytest.mark.parametrize(
    ("fx", "model", "state"),
    [
        # tan(25°) = 0.466 and tan(45°) = 1: the trained lenses see 0.466 to 1 aside of 1 ahead.
        (320.0, "plumb_bob", "verified"),  # 1
        (160.0, "plumb_bob", "verified"),  # 2, half the focal length
        (120.0, "plumb_bob", "out of view"),  # 2.67 > 2.5
        (1372.0, "plumb_bob", "verified"),  # 0.233, twice the focal length
        (1800.0, "plumb_bob", "out of view"),  # 0.178 < 0.466 / 2.5
        (640.0, "equidistant", "verified"),  # 1 radian
        (210.0, "equidistant", "out of view"),  # a fisheye that sees 175°
    ],
)
def test_a_lens_too_far_from_those_of_training_is_an_error(fx, model, state):
    made, lines = lens()
    made.take(camera(distortion_model=model, k=[fx, 0, 319.5, 0, fx, 239.5, 0, 0, 1.0]))
    made.judge(made.of_image(640, 480))
    assert made.scale.state == state
    errors = [text for kind, text in lines if kind == "error"]
    assert bool(errors) == (state == "out of view")
    assert all("no factor corrects" in text and "50° to 90°" in text for text in errors)


@pytest.mark.parametrize(
    ("rectify", "state", "focal"), [(False, "out of view", 210), (True, "verified", 500)]
)
def test_a_fisheye_is_judged_by_what_the_network_sees_of_it(rectify, state, focal):
    """It sees 175° across, of which P keeps 65° (500 px of 640)."""
    answer = pytest.importorskip(
        "emu_perception.node.frame_outputs", reason="needs ROS 2's messages"
    )
    made, lines = lens()
    k = [210.0, 0, 319.5, 0, 210, 239.5, 0, 0, 1.0]
    p = [500.0, 0, 319.5, 0, 0, 500, 239.5, 0, 0, 0, 1, 0]
    made.take(camera(distortion_model="equidistant", d=[0.0] * 4, k=k, p=p))
    image = SimpleNamespace(
        header="", height=480, width=640, encoding="mono8", step=640, data=bytes(640 * 480)
    )
    seen = answer.Answer(image, None, made, Settings(), None, rectify)
    assert seen.camera_info.k[0] == focal
    assert made.scale.state == state
    # Stretched to 512x256, √(0.8·256/480) = 0.653 of it.
    assert f"scale: camera {focal * math.sqrt(0.8 * 256 / 480):.0f} px" in lines[0][1]


def test_without_camera_info_one_warning_says_scale_unverified():
    made, lines = lens()
    assert made.scale.state == "unknown"
    assert made.of_image(640, 480) is None
    assert made.of_image(640, 480) is None
    assert len(lines) == 1
    assert lines[0][0] == "warning" and "scale unverified" in lines[0][1]
    assert made.scale.state == "unverified" and made.scale.text == lines[0][1]


def test_the_first_image_waits_for_a_camera_info_that_is_announced():
    late = threading.Thread(target=lambda: made.take(camera()))
    made, lines = lens(announced=lambda: late.start() or True)
    assert made.of_image(640, 480) is not None
    assert not lines


def test_a_camera_info_of_another_shape_is_not_used_and_told_once():
    made, lines = lens()
    made.take(camera())
    for _ in range(3):
        assert made.of_image(640, 360) is None
    assert len(lines) == 1
    assert "scale unverified" in lines[0][1] and "640x360" in lines[0][1]


def test_the_maps_camera_info_has_their_size_and_the_image_header():
    made, _ = lens()
    made.take(camera())
    info = made.of_maps(made.of_image(640, 480), "this image's")
    assert (info.width, info.height, info.header) == (512, 256, "this image's")
    # 512/640 = 0.8 and 256/480 = 8/15
    assert info.k.tolist() == pytest.approx([400, 0, 255.5, 0, 520 * 8 / 15, 127.5, 0, 0, 1])


def test_letterboxed_maps_cover_the_image_alone_and_keep_its_middle():
    made, _ = lens(fit="letterbox")
    made.take(camera())
    info = made.of_maps(made.of_image(640, 480), "")
    # 480 rows become 256; 640 columns become 640·256/480 = 341.3, rounded to 341.
    assert (info.width, info.height) == (341, 256)
    assert info.k.tolist() == pytest.approx(
        [500 * 341 / 640, 0, 170, 0, 520 * 256 / 480, 127.5, 0, 0, 1]
    )
