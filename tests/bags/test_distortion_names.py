"""Distortion models under the names and with the numbers that drivers send; OpenCV is right."""

import cv2
import numpy as np
import pytest

from emu_core.bags.calibration import pinhole
from emu_core.bags.camera_info import CameraInfoError, changed
from emu_core.bags.distortion import camera_model, rays, rectified

WIDTH, HEIGHT = 64, 48
K = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
BROWN = [0.08, -0.11, 0.0003, -0.0002, 0.05, 0.01, -0.02, 0.03, 1e-4, 2e-4, 3e-4, 1e-4, 0.01, 0.02]
FISHEYE = [0.0236, 0.0101, -0.0295, 0.0083]


def camera(name, d):
    info = pinhole(WIDTH, HEIGHT, 60, 60, 31.5, 23.5)
    return changed(info, distortion_model=name, d=np.array(d, float))


def pixels_of(found):
    """Where OpenCV's pinhole without distortion sees rays, as points (N, 1, 3)."""
    return np.stack([found.x, found.y, np.ones_like(found.x)], axis=-1).reshape(-1, 1, 3)


def assert_inverts(found, project, d):
    """The rays, projected by OpenCV, are on their pixels."""
    points, zero = pixels_of(found).astype(np.float64), np.zeros(3)
    seen = project(points, zero, zero, K, np.array(d, float))[0].reshape(HEIGHT, WIDTH, 2)
    assert np.allclose(seen, np.mgrid[:HEIGHT, :WIDTH].transpose(1, 2, 0)[..., ::-1], atol=0.02)


@pytest.mark.parametrize("count", [4, 5, 8, 12, 14])
@pytest.mark.parametrize("name", ["plumb_bob", "rational_polynomial", "Plumb-Bob", "PLUMB BOB"])
@pytest.mark.parametrize("zeros", [0, 1, 3])
def test_the_number_of_coefficients_decides_and_trailing_zeros_are_harmless(name, count, zeros):
    found = rays(camera_model(camera(name, BROWN[:count] + [0.0] * zeros)))
    assert_inverts(found, cv2.projectPoints, BROWN[:count])


@pytest.mark.parametrize("zeros", [0, 1, 4, 10])
@pytest.mark.parametrize(
    "name", ["equidistant", "fisheye", "Kannala_Brandt", "kannala-brandt4", "KANNALA BRANDT"]
)
def test_the_equidistant_model_has_several_names(name, zeros):
    found = rays(camera_model(camera(name, FISHEYE + [0.0] * zeros)))
    assert_inverts(found, cv2.fisheye.projectPoints, FISHEYE)


@pytest.mark.parametrize("d", [[], [0.0] * 4, [0.0] * 5])
def test_an_equidistant_lens_without_coefficients_is_still_no_pinhole(d):
    assert_inverts(rays(camera_model(camera("fisheye", d))), cv2.fisheye.projectPoints, [0.0] * 4)


@pytest.mark.parametrize("d", [[], [0.0], [0.0] * 5, [0.0] * 9, [0.0] * 20])
@pytest.mark.parametrize("name", ["", "none", "NONE", "pinhole", "perspective", "plumb_bob"])
def test_no_distortion_is_a_pinhole_under_any_name(name, d):
    model = camera_model(camera(name, d))
    assert not model.distorted
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    assert np.array_equal(rectified(picture, camera(name, d))[0], picture)
    assert rays(model).x[0, 0] == np.float32(-31.5 / 60)


@pytest.mark.parametrize(
    ("name", "d"),
    [
        ("division", [0.1]),
        ("", BROWN[:5]),
        ("pinhole", FISHEYE),
        ("plumb_bob", BROWN[:3]),
        ("plumb_bob", BROWN[:6]),
        ("rational_polynomial", [*BROWN, 0.1]),
        ("equidistant", BROWN[:5]),
        ("fisheye", FISHEYE[:3]),
        ("plumb_bob", [0.1, np.nan, 0, 0, 0]),
        ("fisheye", [np.inf, 0, 0, 0]),
    ],
)
def test_other_models_are_refused_in_a_sentence_with_the_known_ones(name, d):
    with pytest.raises(CameraInfoError) as caught:
        camera_model(camera(name, d))
    assert caught.value.kind == "distortion"
    text = str(caught.value)
    known = name and "takes 4" in text
    assert known or "plumb_bob, rational_polynomial, equidistant (or: fisheye" in text
    assert repr(name) in text and str([float(value) for value in d]) in text
