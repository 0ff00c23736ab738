"""Projected points against scenes whose hidden points follow from a formula."""

import struct

import numpy as np
import pytest
from bag_messages import TYPES, cloud, header

from emu_core.bags.images import UnsupportedImage
from emu_core.recordings.clouds import cloud_points, project, remove_hidden

K = np.array([[800.0, 0, 479.5], [0, 800, 269.5], [0, 0, 1]])
WIDTH, HEIGHT = 960, 540
NEAR, FAR = 5.0, 20.0  # two planes across the view; the near one is 2 m wide and high


def laser_rays(vertical):
    """Directions of a spinning laser, whose rings are `vertical` degrees apart; y points down."""
    elevation, azimuth = np.meshgrid(
        np.radians(np.arange(-25, 15, vertical)), np.radians(np.arange(-40, 40, 0.2))
    )
    x, z = np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth)
    return np.stack([x, -np.sin(elevation), z], axis=-1).reshape(-1, 3)


def pixels(depth):
    """Positions and depths of the pixels with a point, (N, 3)."""
    v, u = np.nonzero(depth)
    rays = np.linalg.solve(K, np.stack([u, v, np.ones_like(u)]).astype(float)).T
    return rays * depth[v, u, None], (v, u)


@pytest.mark.parametrize("vertical", [0.2, 0.4, 1.0, 2.0])
@pytest.mark.parametrize("laser", [(0, -0.6, 0), (0.5, -0.3, -0.4)])
def test_of_two_planes_the_points_behind_the_near_one_are_removed(laser, vertical):
    laser, rays = np.array(laser), laser_rays(vertical)
    near, far = (laser + rays * ((z - laser[2]) / rays[:, 2])[:, None] for z in (NEAR, FAR))
    on_near = (np.abs(near[:, :2]) < 1).all(axis=1)
    depth = project(np.where(on_near[:, None], near, far), K, WIDTH, HEIGHT)
    kept = remove_hidden(depth, 800.0)
    points, at = pixels(depth)
    # The camera, at the origin, sees the far plane only beside the near one.
    behind = (np.abs(points[:, :2] * NEAR / FAR) < 1).all(axis=1) & (points[:, 2] > 10)
    remains = kept[at] > 0
    assert behind.sum() > 100
    assert (remains & behind).sum() <= 0.02 * behind.sum()
    assert (~remains & ~behind).sum() <= 0.04 * (~behind).sum()  # along the near plane's edge
    assert (kept[kept > 0] == depth[kept > 0]).all()


@pytest.mark.parametrize("vertical", [0.2, 0.4, 1.0, 2.0])
def test_a_road_and_a_wall_along_it_lose_no_points(vertical):
    laser, rays = np.array([0, -0.6, 0]), laser_rays(vertical)
    rays = rays[(rays[:, 1] > 0.01) | (rays[:, 0] > 0.01)]
    with np.errstate(divide="ignore"):
        road = np.where(rays[:, 1] > 0, (1.6 - laser[1]) / rays[:, 1], np.inf)
        wall = np.where(rays[:, 0] > 0, 3 / rays[:, 0], np.inf)
    points = laser + rays * np.minimum(road, wall)[:, None]
    depth = project(points[points[:, 2] < 80], K, WIDTH, HEIGHT)
    assert (depth > 0).sum() > 4000
    np.testing.assert_array_equal(remove_hidden(depth, 800.0), depth)


def test_a_point_is_projected_to_its_pixel_and_the_nearest_wins():
    points = np.array([[1, 2, 10], [0.5, 1, 5], [2, 4, 20], [0, 0, -5], [100, 0, 1], [0, 0, 0.0]])
    depth = project(points, K, WIDTH, HEIGHT)
    # u = 800·0.1 + 479.5 = 559.5 → 560 (rounds to even), v = 800·0.2 + 269.5 = 429.5 → 430
    assert np.argwhere(depth).tolist() == [[430, 560]]
    assert depth[430, 560] == 5
    empty = project(np.empty((0, 3)), K, WIDTH, HEIGHT)
    assert not empty.any() and not remove_hidden(empty, 800.0).any()


def test_points_are_read_at_their_offsets_and_non_finite_ones_dropped():
    points = [[1, 2, 3], [np.nan, 0, 1], [4, 5, np.inf], [-7, 8, 9]]
    np.testing.assert_array_equal(cloud_points(cloud(points)), [[1, 2, 3], [-7, 8, 9]])


def test_organised_big_endian_clouds_of_doubles_with_padded_rows_are_read():
    field = TYPES["sensor_msgs/msg/PointField"]
    fields = [field(name, offset, 8, 1) for name, offset in (("z", 0), ("y", 8), ("x", 16))]
    rows = [struct.pack(">3d", 3, 2, 1), struct.pack(">3d", 6, 5, 4)]
    data = np.frombuffer(b"".join(row + b"\xff" * 8 for row in rows), np.uint8)
    size = (2, 1, fields, True, 24, 32, data, True)
    message = TYPES["sensor_msgs/msg/PointCloud2"](header(), *size)
    np.testing.assert_array_equal(cloud_points(message), [[1, 2, 3], [4, 5, 6]])


def test_clouds_without_positions_or_with_contradicting_sizes_are_refused():
    message = cloud([[1, 2, 3]])
    message.data = message.data[:-1]
    with pytest.raises(UnsupportedImage, match="1x1 points, 16 bytes each, has 15 bytes"):
        cloud_points(message)
    message.fields = message.fields[:3]
    with pytest.raises(UnsupportedImage, match="fields intensity, x, y: no floating x, y and z"):
        cloud_points(message)
