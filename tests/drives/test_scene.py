"""Geometry of rendered frames against closed forms. Skipped without a renderer."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from emu_core.drives.objects.meshes import box, quad
from emu_core.drives.objects.shapes import Actor, Part
from emu_core.drives.traffic import Mover
from emu_core.labels import UNKNOWN_OBJECT_ID

ROAD, BUILDING, SIGN, SKY, CAR, MOTORCYCLE = 7, 11, 20, 23, 26, 32


def wall(x, left=50.0, right=-50.0, low=-50.0, high=50.0):
    """A wall across the street that faces the camera; `left` and `right` are d, m."""
    return quad([[x, left, low], [x, right, low], [x, right, high], [x, left, high]])


@pytest.fixture(scope="module")
def render(renderer):
    """Function that renders a frame of a drive."""

    def render(drive, time=0.0):
        with renderer(drive) as scene:
            return scene.frame(time, np.random.default_rng(0))

    return render


@pytest.fixture(scope="module")
def frames(render, small_drive):
    """Function (seed, condition, intruder) → frame of a small drive, rendered once."""
    return cache(lambda *drive: render(small_drive(*drive), 0.5))


def test_depth_is_measured_along_z_and_not_along_the_ray(stage, render):
    stage.scenery.add(wall(20.0), "plain", "building")
    frame = render(stage)
    np.testing.assert_allclose(frame.depth, 20.0, rtol=1e-4)
    assert np.all(frame.label_ids == BUILDING)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.06, 0.0), (-0.03, 0.05)])
def test_the_depth_of_the_ground_follows_from_the_camera(stage, render, pitch, roll):
    """A ray (1, −x, −y) of the body meets the ground where it has fallen by the camera height."""
    camera = replace(stage.camera, pitch=pitch, roll=roll)
    ground = quad([[-10, -90, 0], [200, -90, 0], [200, 90, 0], [-10, 90, 0]])
    stage.scenery.add(ground, "plain", "road")
    frame = render(replace(stage, camera=camera))
    u0, v0 = camera.centre
    x = (np.arange(camera.width) - u0)[None] / camera.focal
    y = (np.arange(camera.height) - v0)[:, None] / camera.focal
    # Roll rotates the image, pitch lowers the optical axis.
    down = y * np.cos(roll) + x * np.sin(roll)
    fall = np.sin(pitch) + down * np.cos(pitch)
    expected = camera.mount_height / np.where(fall > 0, fall, np.nan)
    seen = (expected < 100) & (frame.label_ids == ROAD)
    assert seen.mean() > 0.3
    np.testing.assert_allclose(frame.depth[seen], expected[seen], rtol=1e-4)
    if pitch == roll == 0:  # every pixel of row 50 has the depth f·h/(50 − v0)
        row = camera.focal * camera.mount_height / (50 - v0)
        np.testing.assert_allclose(frame.depth[50], row, rtol=1e-4)


def test_positive_yaw_turns_the_camera_to_the_left(stage, render):
    stage.scenery.add(wall(20.0, 1.0, -1.0, 0, 3), "plain", "building")
    camera = replace(stage.camera, yaw=0.1)
    frame = render(replace(stage, camera=camera))
    columns = np.flatnonzero((frame.label_ids == BUILDING).any(axis=0))
    expected = camera.centre[0] + camera.focal * np.tan(0.1)
    assert columns.mean() == pytest.approx(expected, abs=1.0)


def test_an_object_is_at_its_pinhole_projection(stage, render):
    """A square at x = 15 m, y = 2…3 m to the left, z = 1…2 m."""
    stage.scenery.add(wall(15.0, 3.0, 2.0, 1.0, 2.0), "plain", "traffic sign")
    frame = render(stage)
    v, u = np.nonzero(frame.label_ids == SIGN)
    f, (u0, v0), h = stage.camera.focal, stage.camera.centre, stage.camera.mount_height
    left, right = u0 - f * 3 / 15, u0 - f * 2 / 15
    top, bottom = v0 - f * (2 - h) / 15, v0 - f * (1 - h) / 15
    np.testing.assert_allclose([u.min(), u.max()], [left, right], atol=1)
    np.testing.assert_allclose([v.min(), v.max()], [top, bottom], atol=1)


def test_a_mover_moves_with_its_speed(stage, render):
    actor = Actor([Part(box((2, 2, 2)), "plain", "car")], 2.0, 2.0)
    drive = replace(stage, movers=[Mover(actor, 10.0, 0.0, speed=4.0)])
    for time in (0.0, 2.0):
        frame = render(drive, time)
        rear = 10.0 + 4.0 * time - 1.0
        assert frame.depth[32, 64] == pytest.approx(rear, rel=1e-3)
        assert frame.label_ids[32, 64] == CAR


def test_depth_is_infinite_exactly_in_the_sky(frames):
    frame = frames(11)
    sky = frame.label_ids == SKY
    assert 0.02 < sky.mean() < 0.9
    np.testing.assert_array_equal(sky, np.isinf(frame.depth))
    assert np.all(frame.depth[~sky] > 0.5) and np.all(frame.depth[~sky] < 600)
    assert not frame.intruder.any()


def test_no_sky_is_visible_through_the_ground(render, small_drive):
    frame = render(small_drive(16), 1.0)
    assert not np.any(frame.label_ids[70:] == SKY)


def test_the_two_drives_of_a_pair_differ_in_the_intruder_only(frames):
    unknown, known = frames(11, "day", "unknown"), frames(11, "day", "known")
    inside = unknown.intruder > 0
    assert inside.mean() > 0.001
    assert set(np.unique(unknown.intruder)) == {0, 255}
    assert np.all(unknown.label_ids[inside] == UNKNOWN_OBJECT_ID)
    assert not np.any(unknown.label_ids[~inside] == UNKNOWN_OBJECT_ID)
    assert set(np.unique(known.label_ids[known.intruder > 0])) <= {CAR, MOTORCYCLE}
    assert (inside & (known.intruder > 0)).sum() > 0.3 * inside.sum()
    # Outside both, labels and depth are equal; the image may differ by the shadows.
    outside = (unknown.intruder == 0) & (known.intruder == 0)
    assert outside.mean() > 0.5
    np.testing.assert_array_equal(unknown.label_ids[outside], known.label_ids[outside])
    np.testing.assert_array_equal(unknown.depth[outside], known.depth[outside])
    assert np.any(unknown.image != known.image)


def test_haze_and_night_change_the_image_and_not_the_ground_truth(frames):
    day = frames(11)
    for condition in ("haze", "night"):
        other = frames(11, condition)
        np.testing.assert_array_equal(day.label_ids, other.label_ids)
        np.testing.assert_array_equal(day.depth, other.depth)
    assert frames(11, "night").image.mean() < 0.6 * day.image.mean()
    far = np.isfinite(day.depth) & (day.depth > 60)
    assert frames(11, "haze").image[far].std() < 0.6 * day.image[far].std()
