"""The ground plane compared with planes from which points were drawn."""

import numpy as np
import pytest

from emu_perception.planners.ground import MIN_POINTS, fit_ground


def ground_points(up, height, n=2000, seed=0, noise=0.0):
    """Points of a plane that a camera at this height sees, x right, y down, z forward."""
    rng = np.random.default_rng(seed)
    rays = np.stack([rng.uniform(-1, 1, n), rng.uniform(-1, 1, n), np.ones(n)], axis=-1)
    depth = -height / (rays @ up)
    seen = (depth > 0) & (depth < 40)
    depth = depth * (1 + noise * rng.standard_normal(n))  # relative, as of monocular depth
    return (rays * depth[:, None])[seen].astype(np.float32)


def normal(pitch_deg, roll_deg):
    """The ground's normal for a camera that looks down by `pitch` and is rolled."""
    pitch, roll = np.radians([pitch_deg, roll_deg])
    level = np.array([0.0, -np.cos(pitch), -np.sin(pitch)])
    turn = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    return np.array(turn) @ level


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (15, 0), (-5, 3), (40, -10)])
@pytest.mark.parametrize("height", [0.25, 1.5, 3.0])
def test_the_plane_of_the_points_is_found_despite_noise_and_outliers(pitch, roll, height):
    up = normal(pitch, roll)
    points = ground_points(up, height, noise=0.05)
    rng = np.random.default_rng(1)
    elsewhere = rng.uniform([-8, -6, 2], [8, 1, 30], (len(points) * 2 // 3, 3))
    plane = fit_ground(np.concatenate([points, elsewhere]).astype(np.float32))
    assert plane is not None
    assert plane.camera_height == pytest.approx(height, rel=0.03)
    assert np.degrees(np.arccos(min(1.0, float(plane.up @ up)))) < 1.0
    assert np.linalg.norm(plane.up) == pytest.approx(1, abs=1e-5)


def test_the_same_points_give_the_same_plane():
    points = ground_points(normal(5, 0), 1.2, noise=0.1)
    first, second = fit_ground(points), fit_ground(points)
    assert np.array_equal(first.up, second.up) and first.camera_height == second.camera_height


LEVEL = normal(0, 0)


@pytest.mark.parametrize(
    "points",
    [
        np.empty((0, 3), np.float32),
        ground_points(LEVEL, 1.5)[: MIN_POINTS - 1],
        np.tile(np.float32([1.0, 1.5, 5.0]), (500, 1)),
        np.stack([np.zeros(500), np.full(500, 1.5), np.linspace(3, 30, 500)], axis=-1),
        np.random.default_rng(0).uniform(-5, 5, (500, 3)) + [0, 0, 10],
        ground_points(np.array([0.0, 0.0, -1.0]), 6.0),
        ground_points(np.array([-1.0, 0.0, 0.0]), 2.0),
    ],
    ids=["none", "too few", "one point", "a line", "a cloud", "a wall ahead", "a wall beside"],
)
def test_points_that_determine_no_ground_give_none(points):
    assert fit_ground(np.asarray(points, np.float32)) is None
