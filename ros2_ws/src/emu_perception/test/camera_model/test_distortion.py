"""Rectified images are those of a pinhole camera with the numbers of P."""

import math

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="needs ROS 2 messages, from a robot or from the wheels")

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from emu_core.bags.distortion import rectified

WIDTH, HEIGHT = 160, 120
K = np.array([[100.0, 0, 80], [0, 110, 58], [0, 0, 1]])
NEW = np.array([[130.0, 0, 78], [0, 125, 61], [0, 0, 1]])  # closer: its corners were seen as well
BARREL = (-0.2, 0.03, 0.001, -0.001, 0.0)


def about_y(degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def camera_info(model="plumb_bob", d=BARREL, r=None, p=None):
    return CameraInfo(
        header=Header(frame_id="front"),
        width=WIDTH,
        height=HEIGHT,
        distortion_model=model,
        d=d,
        k=K.ravel(),
        r=(np.eye(3) if r is None else r).ravel(),
        p=np.hstack([NEW, [[-13.0], [0], [0]]]).ravel() if p is None else p,
    )


def world(rays):
    """The colours of a smooth pattern in the directions (…, 3), uint8 (…, 3)."""
    x, y = rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2]
    waves = (np.sin(6 * x + 1), np.cos(5 * y), np.sin(4 * x + 3 * y))
    return np.rint(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def pinhole_rays(matrix):
    """The direction of each pixel of a pinhole camera."""
    u, v = np.meshgrid(np.arange(float(WIDTH)), np.arange(float(HEIGHT)))
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(matrix).T


def barrel_rays():
    """The direction of each pixel for K and BARREL: the model, inverted by a fixed point."""
    target = pinhole_rays(K)[..., :2]
    point = target.copy()
    for _ in range(30):  # many more than this lens needs
        k1, k2, p1, p2, _ = BARREL
        x, y = point[..., 0], point[..., 1]
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2**2
        tangential = np.stack(
            [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1
        )
        point = (target - tangential) / radial[..., None]
    return np.concatenate([point, np.ones_like(point[..., :1])], axis=-1)


def assert_shows(image, expected):
    assert np.abs(image.astype(int) - expected.astype(int))[2:-2, 2:-2].max() <= 3


@pytest.mark.parametrize("degrees", [0.0, 3.0])
def test_a_rectified_image_is_that_of_a_rotated_pinhole_camera(degrees):
    turn = about_y(degrees)
    image, _ = rectified(world(barrel_rays()), camera_info(r=turn))
    # R maps the camera's frame to the rectified one: a direction there is Rᵀ·direction here.
    assert_shows(image, world(pinhole_rays(NEW) @ turn))


def test_an_equidistant_image_is_rectified():
    target = pinhole_rays(K)[..., :2]
    angle = np.linalg.norm(target, axis=-1, keepdims=True)
    stretch = np.divide(np.tan(angle), angle, out=np.ones_like(angle), where=angle > 0)
    directions = np.concatenate([target * stretch, np.ones_like(angle)], axis=-1)
    image, _ = rectified(world(directions), camera_info(model="equidistant", d=(0.0,) * 4))
    assert_shows(image, world(pinhole_rays(NEW)))


def test_the_camera_info_is_a_pinhole_with_the_numbers_of_p():
    given = camera_info(r=about_y(3))
    _, info = rectified(np.zeros((HEIGHT, WIDTH, 3), np.uint8), given)
    assert (info.width, info.height, info.header) == (WIDTH, HEIGHT, given.header)
    assert np.array_equal(info.k, NEW.ravel()) and np.array_equal(info.p, given.p)
    assert np.array_equal(info.r, np.eye(3).ravel())
    assert info.distortion_model == "plumb_bob" and not np.any(info.d)
    assert given == camera_info(r=about_y(3)), "the given message is not changed"


@pytest.mark.parametrize("focal_lengths", [(0, 0), (130, 0), (-130, -125)])
def test_without_a_calibrated_p_the_matrix_k_is_kept(focal_lengths):
    pattern, p = world(pinhole_rays(K)), np.zeros(12)
    p[[0, 5]] = focal_lengths
    image, info = rectified(pattern, camera_info(d=(), p=p))
    assert np.array_equal(image, pattern)
    assert np.array_equal(info.k, K.ravel())
    assert np.array_equal(np.reshape(info.p, (3, 4))[:, :3], K)


@pytest.mark.parametrize("model", ["", "plumb_bob"])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_any_number_of_zeros_is_no_distortion(model, count):
    image, _ = rectified(world(pinhole_rays(K)), camera_info(model, (0.0,) * count))
    assert_shows(image, world(pinhole_rays(NEW)))
