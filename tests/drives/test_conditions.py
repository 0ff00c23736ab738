from dataclasses import replace

import numpy as np
import pytest

from emu_core.drives.conditions import (
    HORIZONTAL_FOV,
    Camera,
    at_night,
    dense_haze,
    draw_camera,
    draw_conditions,
    expose,
    sky_faces,
)

SEEDS = range(50)


def exposed(image, depth, conditions, glow=None, lamps=None, seed=0):
    height, width = depth.shape
    camera = Camera(width, height, width, 1.5, 0.0, 0.0, 0.0)
    glow = np.zeros(depth.shape, np.float32) if glow is None else glow
    lamps = np.zeros((0, 3)) if lamps is None else lamps
    rng = np.random.default_rng(seed)
    return expose(image, depth, glow, lamps, camera, conditions, rng)


def even(value, shape=(8, 8)):
    return np.full((*shape, 3), value, np.uint8)


def test_haze_mixes_a_surface_with_the_air_by_its_distance(clear_day):
    """Koschmieder: I = J·t + A·(1 − t), t = exp(−β·z), in linear light."""
    beta, z, value = 0.03, 40.0, 60
    day = replace(clear_day, haze=beta)
    depth = np.full((8, 8), z, np.float32)
    t = np.exp(-beta * z)
    air = np.array([0.72, 0.81, 0.93])  # a clear horizon: no clouds, no low sun
    light = (value / 255) ** 2.2 * t + air**2.2 * (1 - t)
    expected = 255 * light ** (1 / 2.2)
    np.testing.assert_allclose(exposed(even(value), depth, day)[4, 4], expected, atol=1)


def test_without_haze_and_noise_the_picture_is_the_rendering(clear_day):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    depth = np.full((8, 8), 30.0, np.float32)
    np.testing.assert_allclose(exposed(image, depth, clear_day).astype(int), image, atol=1)


def test_dense_haze_hides_what_is_beyond_its_visibility(clear_day):
    """Visibility is where the contrast of black against the air has fallen to 2 %."""
    fog = dense_haze(np.random.default_rng(1), clear_day)
    visibility = 3.9 / fog.haze
    dark, sky = (
        exposed(even(0), np.full((8, 8), z, np.float32), replace(fog, blur=0.01))[4, 4] / 255
        for z in (visibility, np.inf)
    )
    contrast = 1 - (dark / sky) ** 2.2
    np.testing.assert_allclose(contrast, np.exp(-3.9), atol=0.02)


def test_light_haze_leaves_the_sky_alone_and_dense_haze_does_not(clear_day):
    sky = np.full((8, 8), np.inf, np.float32)
    thin, dense = replace(clear_day, haze=0.005), replace(clear_day, haze=0.05)
    np.testing.assert_allclose(exposed(even(10), sky, thin).astype(int), 10, atol=1)
    assert exposed(even(10), sky, dense).min() > 150


def test_sensor_noise_has_the_variance_of_shot_and_read_noise(clear_day):
    """σ² = light·shot² + read² in linear light, seen through the slope of the sRGB curve."""
    day = replace(clear_day, shot_noise=0.05, read_noise=0.01)
    shape = (200, 200)
    image = exposed(even(128, shape), np.full(shape, 20.0, np.float32), day)
    light = (128 / 255) ** 2.2
    slope = 255 / 2.2 * light ** (1 / 2.2 - 1)
    sigma = slope * np.sqrt(light * 0.05**2 + 0.01**2)
    assert image.std() == pytest.approx(sigma, rel=0.03)


def test_noise_is_drawn_from_the_given_generator(clear_day):
    day = replace(clear_day, shot_noise=0.05)
    depth = np.full((8, 8), 20.0, np.float32)
    one, same, other = (exposed(even(128), depth, day, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_vignette_darkens_the_corners_only(clear_day):
    shape = (64, 64)
    picture = exposed(
        even(128, shape), np.full(shape, 20.0, np.float32), replace(clear_day, vignette=0.25)
    )
    assert abs(int(picture[32, 32, 0]) - 128) <= 1
    # 1 − 0.25·3·(½² + ½²) in linear light at the corner
    assert picture[0, 0, 0] == pytest.approx(128 * 0.625 ** (1 / 2.2), abs=3)


@pytest.mark.parametrize("seed", range(5))
def test_a_night_has_no_sun_and_a_noisier_sensor(seed):
    rng = np.random.default_rng(seed)
    day = draw_conditions(rng)
    night = at_night(rng, day)
    assert night.night and night.sun == 0
    assert night.shot_noise > day.shot_noise and night.read_noise > day.read_noise
    assert night.horizon.max() < 0.1 and night.zenith.max() < 0.1


def night_picture(depth, glow=None, lamps=None):
    rng = np.random.default_rng(0)
    night = at_night(rng, draw_conditions(rng))
    night = replace(night, exposure=1.0, shot_noise=0.0, read_noise=0.0, vignette=0.0, haze=0.0)
    return exposed(even(200, depth.shape), depth, night, glow, lamps).astype(int)


def test_headlights_light_what_is_near_and_low():
    near, far = (night_picture(np.full((64, 64), z, np.float32))[:, 32, 0] for z in (8.0, 80.0))
    assert near[36] > far[36] + 60
    assert near[40] > near[20] + 60  # low beam


def test_what_glows_is_seen_at_night():
    depth, glow = np.full((64, 64), 60.0, np.float32), np.zeros((64, 64), np.float32)
    glow[10:14, 10:14] = 0.9
    picture = night_picture(depth, glow)
    assert picture[12, 12, 0] > picture[12, 50, 0] + 100


def test_a_street_lamp_lights_its_surroundings():
    depth = np.full((64, 64), 30.0, np.float32)
    dark, lit = night_picture(depth), night_picture(depth, lamps=np.array([[-8.0, -4.0, 27.0]]))
    assert np.all(lit >= dark)
    assert lit[24, 15, 0] > dark[24, 15, 0] + 10
    assert lit[24, 15, 0] > lit[24, 60, 0]


def test_ordinary_days_are_never_dense_haze_or_night():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        day = draw_conditions(rng)
        assert not day.night
        assert day.haze <= 6e-3  # visibility of 650 m at least
        fog = dense_haze(rng, day)
        assert 40 <= 3.9 / fog.haze <= 130


def test_the_sun_direction_is_a_unit_vector_above_the_horizon():
    for seed in SEEDS:
        day = draw_conditions(np.random.default_rng(seed))
        assert np.linalg.norm(day.sun_direction) == pytest.approx(1)
        assert day.sun_direction[2] == pytest.approx(np.sin(day.sun_elevation))
        assert day.sun_direction[2] > 0.2


def test_cameras_see_the_range_of_fields_of_view():
    for seed in SEEDS:
        camera = draw_camera(np.random.default_rng(seed), 1024, 512)
        across = 2 * np.degrees(np.arctan(1024 / 2 / camera.focal))
        assert HORIZONTAL_FOV[0] <= across <= HORIZONTAL_FOV[1]
        assert 1.2 < camera.mount_height < 2.0
        assert camera.centre == (511.5, 255.5)
        # tan(fovy/2) = H/2 / f
        assert np.tan(np.radians(camera.fovy) / 2) * camera.focal == pytest.approx(256)


def test_the_sky_is_brighter_by_day_than_at_night():
    rng = np.random.default_rng(0)
    day = draw_conditions(rng)
    faces = sky_faces(day, 32)
    assert faces.shape == (192, 32, 3) and faces.dtype == np.uint8
    assert faces.mean() > 5 * sky_faces(at_night(rng, day), 32).mean()
