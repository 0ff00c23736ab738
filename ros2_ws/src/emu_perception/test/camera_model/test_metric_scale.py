"""The lens of a camera: its scale is logged on changes, and checked against the training."""

import math
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from helpers.lenses import stereo_camera as camera
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from emu_core.runtime.fitting import fit_image
from emu_perception.camera_model.metric_scale import Lens
from emu_perception.node.frame_outputs import FrameOutputs
from emu_perception.ros.log_once import LogOnce


def make_lens(is_published=bool, fit="stretch"):
    """A lens for a 256x512 model, trained at 400 px on 50° to 90°, and the lines of its log."""
    perceiver = SimpleNamespace(
        info=SimpleNamespace(canonical_focal=400.0, horizontal_fov=(50.0, 90.0)),
        fitting=lambda height, width: fit_image((height, width), (256, 512), (256, 512), fit),
    )
    lines, logger = [], SimpleNamespace()
    for severity in ("info", "warning", "error"):
        setattr(logger, severity, lambda text, severity=severity: lines.append((severity, text)))
    return Lens(perceiver, is_published, LogOnce(logger)), lines


def intrinsics(fx, fy=None):
    return [float(fx), 0.0, 319.5, 0.0, float(fy or fx), 239.5, 0.0, 0.0, 1.0]


def test_the_scale_is_logged_once_and_after_changes():
    lens, lines = make_lens()
    for _ in range(3):
        lens.update(camera(height=320))
        lens.check_scale(lens.image_info(640, 320))
    # Stretched by 0.8 and 0.8 from 640x320: 500 px become 400, 520 become 416; √(400·416) = 408.
    assert lines == [("info", "scale: camera 408 px vs canonical 400 px -> x1.020")]
    lens.update(camera(height=320, k=intrinsics(1000, 1040)))
    lens.check_scale(lens.image_info(640, 320))
    views = "field of view 35°, but trained on 50° to 90°"
    assert lines[1:] == [
        ("info", "scale: camera 816 px vs canonical 400 px -> x2.040"),
        ("warning", f"{views}: expect less accurate classes and depths"),
    ]


@pytest.mark.parametrize(
    ("fx", "model", "state"),
    [
        # tan(25°) = 0.466 and tan(45°) = 1: half of the image is 0.466 to 1 wide at distance 1.
        (320.0, "plumb_bob", "verified"),  # 1
        (160.0, "plumb_bob", "verified"),  # 2, half the focal length
        (120.0, "plumb_bob", "out of view"),  # 2.67 > 2.5
        (1372.0, "plumb_bob", "verified"),  # 0.233, twice the focal length
        (1800.0, "plumb_bob", "out of view"),  # 0.178 < 0.466 / 2.5
        (640.0, "equidistant", "verified"),  # 1 radian
        (210.0, "equidistant", "out of view"),  # a fisheye lens of 175°
    ],
)
def test_a_field_of_view_far_from_the_trained_ones_is_an_error(fx, model, state):
    lens, lines = make_lens()
    lens.update(camera(distortion_model=model, k=intrinsics(fx)))
    lens.check_scale(lens.image_info(640, 480))
    assert lens.scale.state == state
    errors = [text for severity, text in lines if severity == "error"]
    assert bool(errors) == (state == "out of view")
    assert all("depth is wrong" in text and "50° to 90°" in text for text in errors)


@pytest.mark.parametrize(
    ("rectify", "state", "focal"), [(False, "out of view", 210), (True, "verified", 500)]
)
def test_the_scale_of_a_fisheye_lens_is_that_of_the_image_for_the_network(rectify, state, focal):
    """The lens has 175°, of which P keeps 65° (500 px of 640)."""
    lens, lines = make_lens()
    fisheye = camera(distortion_model="equidistant", d=[0.0] * 4, k=intrinsics(210))
    fisheye.p[[0, 5]] = 500.0
    lens.update(fisheye)
    image = Image(height=480, width=640, encoding="mono8", step=640)
    image.data.frombytes(bytes(640 * 480))
    camera_of_node = SimpleNamespace(lens=lens, rectify=rectify, settings=dict)
    assert FrameOutputs(image, camera_of_node).image[1].k[0] == focal
    assert lens.scale.state == state
    # Stretched to 512x256: by √(0.8·256/480) = 0.653.
    assert f"scale: camera {focal * math.sqrt(0.8 * 256 / 480):.0f} px" in lines[0][1]


@pytest.mark.parametrize(("known", "text"), [(False, "no camera_info"), (True, "640x360")])
def test_a_missing_or_unusable_camera_info_is_logged_once_as_an_unverified_scale(known, text):
    lens, lines = make_lens()
    assert lens.scale.state == "unknown"
    if known:
        lens.update(camera())  # of another aspect ratio
    assert lens.image_info(640, 360) is None and lens.image_info(640, 360) is None
    assert lines == [("warning", lens.scale.text)] and lens.scale.state == "unverified"
    assert "scale unverified" in lens.scale.text and text in lens.scale.text


def test_the_first_image_waits_for_a_camera_info_that_has_a_publisher():
    late = threading.Thread(target=lambda: lens.update(camera()))
    lens, lines = make_lens(is_published=lambda: late.start() or True)
    assert lens.image_info(640, 480) is not None
    assert not lines


@pytest.mark.parametrize(
    ("fit", "size", "k"),
    [
        # 512/640 = 0.8 and 256/480 = 8/15
        ("stretch", (512, 256), [400, 0, 255.5, 0, 520 * 8 / 15, 127.5, 0, 0, 1]),
        # 480 rows become 256; 640 columns become 640·256/480 = 341.3, rounded to 341.
        ("letterbox", (341, 256), [500 * 341 / 640, 0, 170, 0, 520 * 256 / 480, 127.5, 0, 0, 1]),
    ],
)
def test_the_camera_info_of_the_maps_has_their_size_and_the_image_header(fit, size, k):
    lens, _ = make_lens(fit=fit)
    lens.update(camera())
    header = Header(frame_id="image")
    info = lens.map_info(lens.image_info(640, 480), header)
    assert (info.width, info.height) == size and info.header == header
    assert info.k.tolist() == pytest.approx(k)
