from dataclasses import replace

import numpy as np
import pytest

from emu_core.drives import conditions
from emu_core.drives.conditions import at_night, dense_haze, draw_conditions

SEEDS = range(50)


def exposed(value, depth, light, size=8, glow=0.0, lamps=(), seed=0):
    """Expose a uniform (or given) image of size × size pixels."""
    depth, glow = (np.broadcast_to(np.float32(x), (size, size)) for x in (depth, glow))
    image = np.broadcast_to(np.uint8(value), (size, size, 3))
    camera = conditions.PinholeCamera(size, size, size, 1.5, 0.0, 0.0, 0.0)
    lamps = np.reshape(lamps, (-1, 3))
    rng = np.random.default_rng(seed)
    return conditions.expose(image, depth, glow, lamps, camera, light, rng)


def test_haze_mixes_a_surface_with_the_air_by_its_distance(clear_day):
    """Koschmieder: I = J·t + A·(1 − t), t = exp(−β·z), in linear light."""
    beta, z, value = 0.03, 40.0, 60
    t = np.exp(-beta * z)
    air = np.array([0.72, 0.81, 0.93])  # a clear horizon: no clouds, no low sun
    light = (value / 255) ** 2.2 * t + air**2.2 * (1 - t)
    found = exposed(value, z, replace(clear_day, haze=beta))
    np.testing.assert_allclose(found[4, 4], 255 * light ** (1 / 2.2), atol=1)


def test_without_haze_and_noise_the_image_is_the_rendering(clear_day):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(exposed(image, 30.0, clear_day).astype(int), image, atol=1)


def test_dense_haze_hides_objects_beyond_its_visibility(clear_day):
    """At the visibility the contrast of black against the air is 2 %."""
    fog = replace(dense_haze(np.random.default_rng(1), clear_day), blur=0.01)
    dark, sky = (exposed(0, z, fog)[4, 4] / 255 for z in (3.9 / fog.haze, np.inf))
    np.testing.assert_allclose(1 - (dark / sky) ** 2.2, np.exp(-3.9), atol=0.02)


def test_only_dense_haze_changes_the_sky(clear_day):
    thin, dense = (exposed(10, np.inf, replace(clear_day, haze=haze)) for haze in (0.005, 0.05))
    np.testing.assert_allclose(thin.astype(int), 10, atol=1)
    assert dense.min() > 150


def test_sensor_noise_has_the_variance_of_shot_and_read_noise(clear_day):
    """σ² = light·shot² + read² in linear light, times the slope of the sRGB curve."""
    day = replace(clear_day, shot_noise=0.05, read_noise=0.01)
    image = exposed(128, 20.0, day, 200)
    light = (128 / 255) ** 2.2
    slope = 255 / 2.2 * light ** (1 / 2.2 - 1)
    assert image.std() == pytest.approx(slope * np.sqrt(light * 0.05**2 + 0.01**2), rel=0.03)
    np.testing.assert_array_equal(exposed(128, 20.0, day, 200), image)
    assert not np.array_equal(exposed(128, 20.0, day, 200, seed=2), image)


def test_a_vignette_darkens_the_corners_only(clear_day):
    image = exposed(128, 20.0, replace(clear_day, vignette=0.25), 64)
    assert abs(int(image[32, 32, 0]) - 128) <= 1
    # 1 − 0.25·3·(½² + ½²) in linear light at the corner
    assert image[0, 0, 0] == pytest.approx(128 * 0.625 ** (1 / 2.2), abs=3)


def night_image(depth, **lights):
    rng = np.random.default_rng(0)
    night = at_night(rng, draw_conditions(rng))
    night = replace(night, exposure=1.0, shot_noise=0.0, read_noise=0.0, vignette=0.0, haze=0.0)
    return exposed(200, depth, night, 64, **lights).astype(int)


def test_headlights_light_near_and_low_surfaces():
    near, far = (night_image(z)[:, 32, 0] for z in (8.0, 80.0))
    assert near[36] > far[36] + 60
    assert near[40] > near[20] + 60  # low beam


def test_glowing_objects_and_street_lamps_are_bright_at_night():
    glow = np.zeros((64, 64), np.float32)
    glow[10:14, 10:14] = 0.9
    image = night_image(60.0, glow=glow)
    assert image[12, 12, 0] > image[12, 50, 0] + 100
    dark, lit = night_image(30.0), night_image(30.0, lamps=(-8.0, -4.0, 27.0))
    assert np.all(lit >= dark)
    assert lit[24, 15, 0] > dark[24, 15, 0] + 10
    assert lit[24, 15, 0] > lit[24, 60, 0]


def test_days_fogs_and_nights_differ_in_every_seed():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        day = draw_conditions(rng)
        fog, night = dense_haze(rng, day), at_night(rng, day)
        assert not day.night
        assert day.haze <= 6e-3  # visibility of 650 m at least
        assert 40 <= 3.9 / fog.haze <= 130
        assert night.night and night.sun == 0
        assert night.shot_noise > day.shot_noise and night.read_noise > day.read_noise
        assert night.horizon.max() < 0.1 and night.zenith.max() < 0.1
        # The sun's direction is a unit vector above the horizon.
        assert np.linalg.norm(day.sun_direction) == pytest.approx(1)
        assert day.sun_direction[2] == pytest.approx(np.sin(day.sun_elevation))
        assert day.sun_direction[2] > 0.2


def test_cameras_have_fields_of_view_in_the_documented_range():
    for seed in SEEDS:
        camera = conditions.draw_camera(np.random.default_rng(seed), 1024, 512)
        across = 2 * np.degrees(np.arctan(1024 / 2 / camera.focal))
        assert conditions.HORIZONTAL_FOV[0] <= across <= conditions.HORIZONTAL_FOV[1]
        assert 1.2 < camera.mount_height < 2.0
        assert camera.centre == (511.5, 255.5)
        # tan(fovy/2) = H/2 / f
        assert np.tan(np.radians(camera.fovy) / 2) * camera.focal == pytest.approx(256)
