"""Point clouds compared with closed forms: positions, fields, and points that are left out."""

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="needs ROS 2 messages, from a robot or from the wheels")

import cv2
from helpers.clouds import cloud_array, positions
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from emu_core.bags.camera_info import CameraInfoError, of_rectified_image
from emu_core.runtime.perceiver import Perception
from emu_perception.messages.points import PointCloudMaker

WIDTH, HEIGHT = 64, 48
FX, FY, CX, CY = 50.0, 60.0, 30.0, 25.5
PLUMB_BOB = (-0.28, 0.07, 0.001, -0.002, 0.01)
RATIONAL = (0.4, -0.1, 0.002, -0.001, 0.05, 0.7, -0.05, 0.02)
EQUIDISTANT = (0.02, -0.01, 0.003, -0.001)


def camera_info(model="plumb_bob", d=(0.0,) * 5, fx=FX, fy=FY, p=None):
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model=model)
    info.d = list(d)
    info.k = [fx, 0.0, CX, 0.0, fy, CY, 0.0, 0.0, 1.0]
    info.p = p or [fx, 0.0, CX, 0.0, 0.0, fy, CY, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def perception(depth, depth_std=0.0, labels=7, label_uncertainty=0.25):
    """The maps of a frame; a number fills its map."""
    shape = np.shape(depth)

    def filled(value, dtype):
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype), shape))

    return Perception(
        filled(labels, np.uint8),
        filled(label_uncertainty, np.float32),
        filled(depth, np.float32),
        filled(depth_std, np.float32),
    )


def cloud(seen, info=None, rgb=None, ratio=0.5, maker=None, header=None):
    if rgb is None:
        rgb = np.zeros((*seen.depth.shape, 3), np.uint8)
    maker = maker or PointCloudMaker()
    return maker.message(seen, info or camera_info(), rgb, ratio, header or Header())


def pixel_grid():
    """Columns and rows of every pixel."""
    return np.meshgrid(np.arange(float(WIDTH)), np.arange(float(HEIGHT)))


def test_a_plane_seen_through_a_pinhole_is_that_plane():
    # For the points (x, y, 1)·z on a ray, n·X = 3 holds at z = 3 / n·(x, y, 1).
    normal = np.array([0.2, -0.5, 0.8])
    u, v = pixel_grid()
    rays = np.stack([(u - CX) / FX, (v - CY) / FY, np.ones_like(u)], axis=-1)
    depth = 3 / (rays @ normal)
    points = positions(cloud(perception(depth)))
    assert np.allclose(points @ normal, 3, atol=1e-4)
    assert np.allclose(points[..., 2], depth, rtol=1e-6)
    # +x is right of the axis, +y is below it (REP-103).
    assert points[24, 40, 0] > 0 > points[24, 20, 0]
    assert points[40, 30, 1] > 0 > points[10, 30, 1]


def distort_plumb_bob(x, y):
    """Brown's model."""
    k1, k2, p1, p2, k3 = PLUMB_BOB
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def distort_rational(x, y):
    points = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    seen = cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), np.array(RATIONAL))[0]
    return tuple(seen.reshape(*x.shape, 2).transpose(2, 0, 1))


def distort_equidistant(x, y):
    """The model of Kannala and Brandt: positions are proportional to the angle to the axis."""
    r = np.hypot(x, y)
    angle = np.arctan(r)
    k1, k2, k3, k4 = EQUIDISTANT
    bent = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
    scale = np.divide(bent, r, out=np.ones_like(r), where=r > 0)
    return x * scale, y * scale


@pytest.mark.parametrize(
    ("model", "d", "distort"),
    [
        ("plumb_bob", PLUMB_BOB, distort_plumb_bob),
        ("rational_polynomial", RATIONAL, distort_rational),
        ("equidistant", EQUIDISTANT, distort_equidistant),
    ],
)
def test_points_projected_back_through_the_lens_land_on_their_pixels(model, d, distort):
    depth = np.random.default_rng(1).uniform(1, 50, (HEIGHT, WIDTH)).astype(np.float32)
    points = positions(cloud(perception(depth), camera_info(model, d)))
    assert np.array_equal(points[..., 2], depth)
    x, y = distort(points[..., 0] / depth, points[..., 1] / depth)
    u, v = pixel_grid()
    assert np.allclose(FX * x + CX, u, atol=1e-3) and np.allclose(FY * y + CY, v, atol=1e-3)
    undistorted = (u - CX) / FX * depth
    assert np.abs(points[..., 0] - undistorted).max() > 0.1, "the distortion matters"


def test_only_unusable_positions_are_left_out_and_keep_their_class():
    depth, deviation = np.full((HEIGHT, WIDTH), 10.0), np.ones((HEIGHT, WIDTH))
    uncertainty = np.zeros((HEIGHT, WIDTH))
    rows = [  # depth, deviation, label uncertainty, usable at a limit of 0.2
        (10.0, 2.0, 0.0, True),
        (10.0, 2.01, 0.0, False),
        (10.0, 0.1, 1.0, True),
        (np.inf, np.inf, 0.0, False),
        (np.nan, np.nan, 0.0, False),
        (10.0, np.nan, 0.0, False),
        (np.inf, 0.0, 0.0, False),
    ]
    for column, row in enumerate(rows):
        depth[0, column], deviation[0, column], uncertainty[0, column], _ = row
    points = cloud_array(cloud(perception(depth, deviation, 7, uncertainty), ratio=0.2))
    for axis in "xyz":
        assert np.isfinite(points[axis][0, : len(rows)]).tolist() == [row[3] for row in rows]
        assert np.isfinite(points[axis][1:]).all()
    assert np.array_equal(points["label"], np.full((HEIGHT, WIDTH), 7))
    assert np.array_equal(points["label_uncertainty"], uncertainty.astype(np.float32))
    assert np.array_equal(points["depth_std"], deviation.astype(np.float32), equal_nan=True)


def test_the_message_is_organised_and_has_colours_as_pcl_packs_them():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    rgb = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    rgb.flags.writeable = False  # like a view of a message
    header = Header(frame_id="camera_optical")
    header.stamp.sec = 17
    message = cloud(perception(np.ones((HEIGHT, WIDTH)), labels=labels), rgb=rgb, header=header)
    assert message.header == header
    assert (message.height, message.width, message.is_dense) == (HEIGHT, WIDTH, False)
    names = ("x", "y", "z", "rgb", "label", "label_uncertainty", "depth_std")
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        (name, 4 * index, 6 if name == "label" else 7, 1) for index, name in enumerate(names)
    ]
    points = cloud_array(message)
    assert np.array_equal(points["label"], labels)
    red, green, blue = rgb.astype(np.uint32).transpose(2, 0, 1)
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    assert np.array_equal(packed, red << 16 | green << 8 | blue)


def test_a_message_keeps_its_points_when_an_image_of_another_size_follows():
    maker = PointCloudMaker()
    first = cloud(perception(np.full((HEIGHT, WIDTH), 5.0)), maker=maker)
    info = camera_info()
    info.width, info.height = 20, 10
    second = cloud(perception(np.full((10, 20), 9.0)), info, maker=maker)
    assert (positions(first)[..., 2] == 5).all() and first.width == WIDTH
    assert (positions(second)[..., 2] == 9).all() and (second.height, second.width) == (10, 20)


def test_a_zoom_lens_moves_the_points_at_once():
    maker, seen = PointCloudMaker(), perception(np.full((HEIGHT, WIDTH), 6.0))
    wide = positions(cloud(seen, camera_info(fx=FX), maker=maker))
    narrow = positions(cloud(seen, camera_info(fx=2 * FX), maker=maker))
    assert np.allclose(wide[..., 0], 2 * narrow[..., 0])
    assert wide[0, 0, 0] == pytest.approx(-CX / FX * 6)


def test_points_of_rectified_images_follow_p_without_distortion():
    p = [40.0, 0.0, 31.0, -4.0, 0.0, 45.0, 20.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info = of_rectified_image(camera_info("plumb_bob", PLUMB_BOB, p=p))
    points = positions(cloud(perception(np.full((HEIGHT, WIDTH), 2.0)), info))
    u, v = pixel_grid()
    assert np.allclose(points[..., 0], (u - 31) / 40 * 2)
    assert np.allclose(points[..., 1], (v - 20) / 45 * 2)


def test_pixels_without_a_ray_are_left_out():
    # r·(1 − 0.9 r²) never exceeds 0.41: pixels farther from the centre than 0.41·50 have no ray.
    info = camera_info("plumb_bob", (-0.9, 0.0, 0.0, 0.0, 0.0), fx=50.0, fy=50.0)
    points = positions(cloud(perception(np.ones((HEIGHT, WIDTH))), info))
    u, v = pixel_grid()
    off = np.hypot(u - CX, v - CY)
    assert np.isnan(points[off > 20.5]).all() and np.isfinite(points[off < 15]).all()


@pytest.mark.parametrize(
    ("model", "d", "text"),
    [
        ("fov", (0.9,), r"'fov' with D \[0.9\]: calibrate with plumb_bob, rational"),
        ("plumb_bob", (0.1, 0.2, 0.3), r"takes 4 or 5 or 8 .*\[0.1, 0.2, 0.3\]"),
        ("plumb_bob", (np.nan,) * 5, "nan"),
    ],
)
def test_an_unknown_lens_is_refused(model, d, text):
    with pytest.raises(CameraInfoError, match=text) as caught:
        cloud(perception(np.ones((HEIGHT, WIDTH))), camera_info(model, d))
    assert caught.value.kind == "distortion"
