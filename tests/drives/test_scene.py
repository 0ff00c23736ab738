"""Geometry of rendered frames against closed forms. Skipped without a renderer."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from emu_core.drives.objects.meshes import box, quad
from emu_core.drives.objects.shapes import Actor, Part
from emu_core.drives.traffic import Mover
from emu_core.labels import CITYSCAPES, UNKNOWN_OBJECT_ID

NAMES = dict(zip(CITYSCAPES.dataset_ids, CITYSCAPES.names, strict=True))


def noise():
    return np.random.default_rng(0)


def ground(z=0.0):
    return quad(np.array([[-10, -90, z], [200, -90, z], [200, 90, z], [-10, 90, z]], float))


def wall(x, half_width=50.0, low=-50.0, high=50.0):
    """A wall across the street that faces the camera."""
    w = half_width
    return quad(np.array([[x, w, low], [x, -w, low], [x, -w, high], [x, w, high]], float))


@pytest.fixture(scope="module")
def frames(renderer, small_drive):
    """Function (seed, condition, intruder) → frame of a small drive, rendered once."""

    @cache
    def frame(*drive):
        with renderer(small_drive(*drive)) as scene:
            return scene.frame(0.5, noise())

    return frame


def test_depth_is_measured_along_z_and_not_along_the_ray(stage, open_scene):
    stage.scenery.add(wall(20.0), "plain", "building")
    frame = open_scene(stage).frame(0.0, noise())
    np.testing.assert_allclose(frame.depth, 20.0, rtol=1e-4)
    assert np.all(frame.label_ids == 11)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.06, 0.0), (-0.03, 0.05)])
def test_the_depth_of_the_ground_follows_from_camera_height_and_angles(
    stage, open_scene, pitch, roll
):
    """A ray (1, −x, −y) of the body meets the ground where it has fallen by the camera height."""
    camera = replace(stage.camera, pitch=pitch, roll=roll)
    stage.scenery.add(ground(), "plain", "road")
    frame = open_scene(replace(stage, camera=camera)).frame(0.0, noise())
    u0, v0 = camera.centre
    x = (np.arange(camera.width) - u0)[None] / camera.focal
    y = (np.arange(camera.height) - v0)[:, None] / camera.focal
    # Roll rotates the image, pitch lowers the optical axis.
    down = y * np.cos(roll) + x * np.sin(roll)
    fall = np.sin(pitch) + down * np.cos(pitch)
    expected = camera.mount_height / np.where(fall > 0, fall, np.nan)
    seen = (expected < 100) & (frame.label_ids == 7)
    assert seen.mean() > 0.3
    np.testing.assert_allclose(frame.depth[seen], expected[seen], rtol=1e-4)
    if pitch == roll == 0:  # every pixel of row 50 has the depth f·h/(50 − v0)
        row = camera.focal * camera.mount_height / (50 - v0)
        np.testing.assert_allclose(frame.depth[50], row, rtol=1e-4)


def test_positive_yaw_turns_the_camera_to_the_left(stage, open_scene):
    stage.scenery.add(wall(20.0, half_width=1.0, low=0, high=3), "plain", "building")
    camera = replace(stage.camera, yaw=0.1)
    frame = open_scene(replace(stage, camera=camera)).frame(0.0, noise())
    columns = np.flatnonzero((frame.label_ids == 11).any(axis=0))
    expected = camera.centre[0] + camera.focal * np.tan(0.1)
    assert columns.mean() == pytest.approx(expected, abs=1.0)


def test_an_object_is_at_its_pinhole_projection(stage, open_scene):
    """A square at x = 15 m, y = 2…3 m to the left, z = 1…2 m."""
    face = quad(np.array([[15, 3, 1], [15, 2, 1], [15, 2, 2], [15, 3, 2]], float))
    stage.scenery.add(face, "plain", "traffic sign")
    frame = open_scene(stage).frame(0.0, noise())
    v, u = np.nonzero(frame.label_ids == 20)
    f, (u0, v0), h = stage.camera.focal, stage.camera.centre, stage.camera.mount_height
    left, right = u0 - f * 3 / 15, u0 - f * 2 / 15
    top, bottom = v0 - f * (2 - h) / 15, v0 - f * (1 - h) / 15
    np.testing.assert_allclose([u.min(), u.max()], [left, right], atol=1)
    np.testing.assert_allclose([v.min(), v.max()], [top, bottom], atol=1)


def test_a_mover_moves_with_its_speed(stage, open_scene):
    actor = Actor([Part(box((2, 2, 2)), "plain", "car")], 2.0, 2.0)
    drive = replace(stage, movers=[Mover(actor, 10.0, 0.0, speed=4.0)])
    scene = open_scene(drive)
    for time in (0.0, 2.0):
        frame = scene.frame(time, noise())
        rear = 10.0 + 4.0 * time - 1.0
        assert frame.depth[32, 64] == pytest.approx(rear, rel=1e-3)
        assert frame.label_ids[32, 64] == 26


def test_depth_is_infinite_exactly_in_the_sky(frames):
    frame = frames(11)
    sky = frame.label_ids == 23
    assert 0.02 < sky.mean() < 0.9
    np.testing.assert_array_equal(sky, np.isinf(frame.depth))
    assert np.all(frame.depth[~sky] > 0.5) and np.all(frame.depth[~sky] < 600)
    assert not frame.intruder.any()


def test_no_sky_is_visible_through_the_ground(open_scene, small_drive):
    frame = open_scene(small_drive(16)).frame(1.0, noise())
    assert not np.any(frame.label_ids[70:] == 23)


def test_label_ids_are_those_of_cityscapes(frames):
    seen = set(np.unique(frames(11).label_ids)) | set(np.unique(frames(12).label_ids))
    assert seen <= set(NAMES)
    assert {"road", "sky", "sidewalk", "building", "vegetation"} <= {NAMES[i] for i in seen}


def test_the_same_seed_renders_the_same_frame_again(frames, renderer, small_drive):
    first = frames(11)
    with renderer(small_drive(11)) as scene:
        scene.frame(0.0, noise())
        again = scene.frame(0.5, noise())
    for name in ("image", "label_ids", "depth"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_the_intruder_is_unknown_in_one_drive_and_known_in_its_twin(frames):
    unknown, known = frames(11, "day", "unknown"), frames(11, "day", "known")
    inside = unknown.intruder > 0
    assert inside.mean() > 0.001
    assert set(np.unique(unknown.intruder)) == {0, 255}
    assert np.all(unknown.label_ids[inside] == UNKNOWN_OBJECT_ID)
    assert not np.any(unknown.label_ids[~inside] == UNKNOWN_OBJECT_ID)
    assert set(np.unique(known.label_ids[known.intruder > 0])) <= {26, 32}  # car, motorcycle
    overlap = (inside & (known.intruder > 0)).sum()
    assert overlap > 0.3 * inside.sum()


def test_a_pair_is_equal_outside_its_intruders(frames):
    """Labels and depth are equal; the image may differ by the shadows."""
    unknown, known = frames(11, "day", "unknown"), frames(11, "day", "known")
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
