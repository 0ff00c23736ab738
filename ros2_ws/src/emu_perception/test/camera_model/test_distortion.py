"""Straightened images: what a pinhole camera with P's numbers would have seen."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from emu_perception.camera_model.camera_info import CameraInfoError
from emu_perception.camera_model.distortion import rectified

WIDTH, HEIGHT = 160, 120
K = np.array([[100.0, 0, 80], [0, 110, 58], [0, 0, 1]])
NEW = np.array([[130.0, 0, 78], [0, 125, 61], [0, 0, 1]])  # closer: its corners were seen as well
BARREL = (-0.2, 0.03, 0.001, -0.001, 0.0)


def about_y(degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


class Info(SimpleNamespace):
    """A stand-in for sensor_msgs/CameraInfo."""


def camera_info(model="plumb_bob", d=BARREL, r=None, p=None):
    return Info(
        header="front",
        width=WIDTH,
        height=HEIGHT,
        distortion_model=model,
        d=list(d),
        k=K.ravel(),
        r=(np.eye(3) if r is None else r).ravel(),
        p=np.hstack([NEW, [[-13.0], [0], [0]]]).ravel() if p is None else p,
    )


def world(rays):
    """What the world shows in the directions (…, 3): a smooth pattern, uint8 (…, 3)."""
    x, y = rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2]
    waves = (np.sin(6 * x + 1), np.cos(5 * y), np.sin(4 * x + 3 * y))
    return np.rint(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def looks(matrix):
    """Direction of each pixel through a pinhole."""
    u, v = np.meshgrid(np.arange(float(WIDTH)), np.arange(float(HEIGHT)))
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(matrix).T


def bent_directions():
    """Direction of each pixel through K and BARREL: the model, inverted by a fixed point."""
    target = looks(K)[..., :2]
    point = target.copy()
    for _ in range(30):  # far more often than this lens needs
        k1, k2, p1, p2, _ = BARREL
        x, y = point[..., 0], point[..., 1]
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2**2
        aside = np.stack(
            [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1
        )
        point = (target - aside) / radial[..., None]
    return np.concatenate([point, np.ones_like(point[..., :1])], axis=-1)


@pytest.mark.parametrize("degrees", [0.0, 3.0])
def test_the_straightened_image_is_what_a_turned_pinhole_would_have_seen(degrees):
    turn = about_y(degrees)
    image, _ = rectified(world(bent_directions()), camera_info(r=turn))
    # R takes the camera's frame to the rectified one: a direction there is Rᵀ·direction here.
    expected = world(looks(NEW) @ turn)
    assert np.abs(image.astype(int) - expected.astype(int))[2:-2, 2:-2].max() <= 3


def test_an_equidistant_image_is_straightened():
    target = looks(K)[..., :2]
    angle = np.linalg.norm(target, axis=-1, keepdims=True)
    stretch = np.divide(np.tan(angle), angle, out=np.ones_like(angle), where=angle > 0)
    directions = np.concatenate([target * stretch, np.ones_like(angle)], axis=-1)
    image, _ = rectified(world(directions), camera_info(model="equidistant", d=(0.0,) * 4))
    expected = world(looks(NEW))
    assert np.abs(image.astype(int) - expected.astype(int))[2:-2, 2:-2].max() <= 3


def test_its_camera_info_is_a_pinhole_with_the_numbers_of_p():
    given = camera_info(r=about_y(3))
    _, info = rectified(np.zeros((HEIGHT, WIDTH, 3), np.uint8), given)
    assert (info.width, info.height, info.header) == (WIDTH, HEIGHT, "front")
    assert np.array_equal(info.k, NEW.ravel()) and np.array_equal(info.p, given.p)
    assert np.array_equal(info.r, np.eye(3).ravel())
    assert info.distortion_model == "plumb_bob" and not np.any(info.d)
    assert np.array_equal(given.k, K.ravel()) and given.d == list(BARREL)  # left as it was


@pytest.mark.parametrize("focal_lengths", [(0, 0), (130, 0), (-130, -125)])
def test_without_a_calibrated_p_the_matrix_k_stays(focal_lengths):
    pattern, p = world(looks(K)), np.zeros(12)
    p[[0, 5]] = focal_lengths
    image, info = rectified(pattern, camera_info(d=(), p=p))
    assert np.array_equal(image, pattern)
    assert np.array_equal(info.k, K.ravel())
    assert np.array_equal(np.reshape(info.p, (3, 4))[:, :3], K)


def test_an_unknown_lens_and_an_image_of_another_size_are_refused():
    with pytest.raises(CameraInfoError, match="'omni'"):
        rectified(np.zeros((HEIGHT, WIDTH, 3), np.uint8), camera_info(model="omni"))
    with pytest.raises(ValueError, match="160x120, but got 80x60"):
        rectified(np.zeros((60, 80, 3), np.uint8), camera_info())


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_zeros_are_no_distortion_however_many(count):
    rgb = world(looks(K))
    straight, _ = rectified(rgb, camera_info(d=(0.0,) * 5))
    assert np.array_equal(rectified(rgb, camera_info(d=(0.0,) * count))[0], straight)
