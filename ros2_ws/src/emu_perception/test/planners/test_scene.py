"""Obstacles, ground and free space of scenes whose geometry is known."""

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="needs ROS 2 messages, from a robot or from the wheels")

from sensor_msgs.msg import CameraInfo

from emu_core.bags.camera_info import CameraInfoError, for_image
from emu_core.bags.distortion import Rays, camera_model, rays
from emu_core.labels import CITYSCAPES, IGNORE
from emu_perception.planners.classes import DYNAMIC, GROUND, class_roles
from emu_perception.planners.scene import Limits, Scene

WIDTH, HEIGHT, FOCAL, EYE = 96, 64, 60.0, 1.2
U, V = np.meshgrid(np.arange(float(WIDTH)), np.arange(float(HEIGHT)))
X, Y = (U - (WIDTH - 1) / 2) / FOCAL, (V - (HEIGHT - 1) / 2) / FOCAL
RAYS = Rays(X.astype(np.float32), Y.astype(np.float32), None)
ROAD, WALL, PERSON, SKY = map(CITYSCAPES.names.index, ("road", "wall", "person", "sky"))
UNKNOWN = len(CITYSCAPES)
ROLES = class_roles(CITYSCAPES, GROUND, DYNAMIC, ())
LEVEL = np.array([0.0, -1.0, 0.0])


def street(up=LEVEL, walls=()):
    """A road below the sky, and walls (distance ahead, width to each side, height), in metres.

    Walls stand on the road across the direction in which the camera looks. The camera's height is
    `EYE`, and `up` is the road's normal in its frame.
    """
    rays = np.stack([X, Y, np.ones_like(X)], axis=-1)
    rise = rays @ up
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    ahead = rays @ (forward / np.linalg.norm(forward))
    with np.errstate(divide="ignore"):
        depth = np.where(rise < 0, -EYE / rise, np.inf)
    labels = np.where(np.isfinite(depth), ROAD, SKY)
    for distance, width, height in walls:
        at = distance / ahead
        points = rays * at[..., None]
        on_wall = (at < depth) & (points @ up + EYE < height) & (np.abs(points[..., 0]) < width)
        depth, labels = np.where(on_wall, at, depth), np.where(on_wall, WALL, labels)
    return {
        "labels": labels.astype(np.uint8),
        "label_uncertainty": np.full(depth.shape, 0.05, np.float32),
        "depth": depth.astype(np.float32),
        "depth_std": (0.02 * depth).astype(np.float32),
    }


def scene(maps, rays=RAYS, **limits):
    defaults = {
        "doubtful_above": 0.1,
        "max_depth_std_ratio": 0.3,
        "min_obstacle_height": 0.1,
        "max_obstacle_height": 2.0,
        "clearing_range": 20.0,
        "clearing_sigmas": 2.0,
    }
    return Scene(maps, rays, ROLES, CITYSCAPES.sky, Limits(**{**defaults, **limits}))


def shown(points):
    """Whether each pixel has a point; its three coordinates are finite together."""
    finite = np.isfinite(points)
    assert np.array_equal(finite.any(axis=-1), finite.all(axis=-1))
    return finite[..., 2]


def test_road_and_wall_are_told_apart_by_their_classes():
    maps = street(walls=[(6.0, 1.0, 1.5)])
    seen = scene(maps)
    assert seen.plane.camera_height == pytest.approx(EYE, rel=1e-3)
    high = maps["labels"] == WALL
    high &= EYE - 6 * Y >= 0.1
    assert np.array_equal(shown(seen.obstacles()), high) and high.sum() > 200
    assert np.array_equal(shown(seen.ground()), maps["labels"] == ROAD)
    points = seen.obstacles()[high]
    assert np.allclose(points[:, 2], 6.0) and np.allclose(points[:, 1], 6 * Y[high], atol=1e-5)


@pytest.mark.parametrize("label", [IGNORE, UNKNOWN, PERSON])
def test_whatever_is_not_ground_is_an_obstacle_also_without_a_class(label):
    maps = street(walls=[(6.0, 1.0, 1.5)])
    wall = maps["labels"] == WALL
    maps["labels"][wall] = label
    seen = scene(maps)
    assert (shown(seen.obstacles())[wall & (EYE - 6 * Y > 0.11)]).all()
    assert not shown(seen.ground())[wall].any()


def test_doubtful_ground_is_an_obstacle_unless_it_lies_on_the_ground_plane():
    maps = street(walls=[(6.0, 1.0, 1.5)])
    wall = maps["labels"] == WALL
    maps["labels"][wall] = ROAD  # a wall that looks like a road
    on_road = (V > 50) & (U < 20)
    maps["label_uncertainty"][wall | on_road] = 0.5
    seen = scene(maps)
    assert shown(seen.obstacles())[wall & (EYE - 6 * Y > 0.11)].all()
    assert not shown(seen.ground())[wall | on_road].any()
    assert not shown(seen.obstacles())[on_road].any()
    maps["label_uncertainty"][wall] = 0.0
    assert not shown(scene(maps).obstacles()).any()


def test_ignored_classes_are_neither_unless_they_are_doubtful():
    maps = street(walls=[(6.0, 1.0, 1.5)])
    high = (maps["labels"] == WALL) & (EYE - 6 * Y > 0.11)
    roles = class_roles(CITYSCAPES, GROUND, DYNAMIC, ("wall",))
    limits = scene(maps)._limits
    seen = Scene(maps, RAYS, roles, SKY, limits)
    assert not shown(seen.obstacles()).any() and not shown(seen.ground())[high].any()
    maps["label_uncertainty"][high] = 0.5
    assert shown(Scene(maps, RAYS, roles, SKY, limits).obstacles())[high].all()


def test_without_enough_ground_nothing_is_left_out_by_its_height():
    maps = street(walls=[(6.0, 1.0, 1.5)])
    maps["labels"][maps["labels"] == ROAD] = IGNORE
    seen = scene(maps)
    assert seen.plane is None and seen.height is None
    assert np.array_equal(shown(seen.obstacles()), np.isfinite(maps["depth"]))


def test_below_the_ground_plane_is_an_obstacle_too():
    maps = street()
    hole = (V > 50) & (U > 40) & (U < 60)
    maps["depth"][hole] *= 1.5
    maps["labels"][hole] = IGNORE
    assert shown(scene(maps).obstacles())[hole].all()


def test_unusable_positions_have_no_points_and_free_nothing():
    maps = street(walls=[(6.0, 1.0, 1.5)])
    maps["depth_std"][:] = 0.4 * maps["depth"]
    seen = scene(maps)
    for points in (seen.obstacles(), seen.ground()):
        assert not shown(points).any()
    assert not shown(seen.clearing())[np.isfinite(maps["depth"])].any()


# --- clearing


def ranges(points):
    return np.linalg.norm(points, axis=-1)


def test_a_ray_ends_so_many_standard_deviations_before_the_road():
    maps = street()
    ends = scene(maps, clearing_sigmas=3.0).clearing()
    road = (maps["labels"] == ROAD) & (maps["depth"] < 15)
    expected = maps["depth"][road] - 3 * maps["depth_std"][road]
    assert np.allclose(ends[road][:, 2], expected, rtol=1e-4)
    assert np.allclose(ends[road][:, 0], X[road] * ends[road][:, 2], atol=1e-4)


def test_sky_is_free_up_to_the_range_as_long_as_the_ray_is_low():
    maps = street()
    ends = scene(maps, clearing_range=12.0).clearing()
    sky = maps["labels"] == SKY
    assert shown(ends)[sky].all()
    low = np.minimum(12.0, (2.0 - EYE) / np.maximum(-Y, 1e-9) * np.sqrt(X**2 + Y**2 + 1))
    assert np.allclose(ranges(ends)[sky], low[sky], rtol=1e-3)
    assert (ranges(ends)[shown(ends)] <= 12.0 + 1e-3).all()


def test_doubtful_pixels_free_nothing():
    maps = street(walls=[(6.0, 1.0, 1.5)])
    doubtful = np.random.default_rng(0).random(maps["depth"].shape) < 0.3
    maps["label_uncertainty"][doubtful] = 0.11
    maps["depth"][doubtful & (maps["labels"] == SKY)] = np.nan  # as FrameOutputs does
    ends = scene(maps).clearing()
    assert not shown(ends)[doubtful].any() and shown(ends)[~doubtful].mean() > 0.9


def test_depth_beyond_the_range_of_the_model_frees_nothing():
    maps = street(walls=[(6.0, 1.0, 1.5)])
    wall = maps["labels"] == WALL
    for name in ("depth", "depth_std"):
        maps[name][wall] = np.inf
    assert not shown(scene(maps).clearing())[wall].any()


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (20, 0), (-10, 8), (5, -25)])
@pytest.mark.parametrize("height", [0.4, 1.5, 4.0])
@pytest.mark.parametrize("doubtful", [False, True])
def test_seen_from_above_no_ray_passes_a_wall(pitch, roll, height, doubtful):
    """Not even the rays over it: to the sky, or to the road and to a higher wall behind it."""
    pitch, roll = np.radians([pitch, roll])
    up = np.array([0, -np.cos(pitch), -np.sin(pitch)])
    turn = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    up = np.array(turn) @ up
    maps = street(up, walls=[(15.0, 90.0, 8.0), (5.0, 90.0, height)])
    near = (maps["labels"] == WALL) & (maps["depth"] < 10)
    if doubtful:
        maps["label_uncertainty"][near] = 0.9
    seen = scene(maps)
    assert seen.plane is not None and near.sum() > 100
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    forward /= np.linalg.norm(forward)
    rays = np.stack([X, Y, np.ones_like(X)], axis=-1)
    azimuth = np.arctan2(rays @ np.cross(forward, up), rays @ forward)
    # Of a rolled camera, the corners of the image see over a low wall, but not the wall.
    inside = (azimuth >= azimuth[near].min()) & (azimuth <= azimuth[near].max())
    ends = seen.clearing()[inside]
    assert np.nanmax(ends @ forward) < 5.0 and inside.mean() > 0.9
    assert np.nanmin(ends @ up + EYE) > -0.02 and np.nanmax(ends @ up + EYE) < 2.02


def test_a_wall_of_unusable_depth_is_not_passed_either():
    maps = street(walls=[(5.0, 90.0, 4.0)])
    wall = maps["labels"] == WALL
    maps["depth_std"][wall] = maps["depth"][wall]
    ends = scene(maps).clearing()
    assert shown(ends)[maps["labels"] == SKY].all() and np.nanmax(ends[..., 2]) < 5.0


def test_higher_obstacles_do_not_end_rays_below_them():
    maps = street(walls=[(15.0, 90.0, 0.0)])
    crown = (V < 25) & (np.abs(X) < 0.5)  # at 6 m, from 0.65 m above the eye
    maps["labels"][crown], maps["depth"][crown] = WALL, 6.0
    maps["depth_std"][crown] = 0.1
    assert (EYE - 6 * Y[crown]).min() > 1.8
    free = np.nanmax(scene(maps, max_obstacle_height=1.7).clearing()[..., 2][:, 48])
    assert free > 15 > 6 > np.nanmax(scene(maps).clearing()[..., 2][:, 48])


def test_without_a_ground_plane_the_sky_is_free_only_beside_what_is_unknown():
    maps = street(walls=[(5.0, 1.0, 1.5)])
    maps["labels"][maps["labels"] == ROAD] = IGNORE
    road = np.isfinite(maps["depth"]) & (maps["labels"] != WALL)
    maps["depth"][road] = np.nan  # nothing but the wall and the sky is known
    maps["depth_std"][road] = np.nan
    assert not shown(scene(maps).clearing()).any()
    only_sky = {name: values.copy() for name, values in street().items()}
    for name, value in (("labels", SKY), ("depth", np.inf), ("depth_std", np.inf)):
        only_sky[name][:] = value
    ends = scene(only_sky).clearing()
    assert shown(ends).all() and np.allclose(ranges(ends), 20.0, rtol=1e-4)


def test_pixels_without_a_ray_are_left_out():
    maps = street()
    known = (U - 48) ** 2 + (V - 32) ** 2 < 30**2
    rays = Rays(np.where(known, RAYS.x, np.nan), np.where(known, RAYS.y, np.nan), known)
    seen = scene(maps, rays)
    for points in (seen.obstacles(), seen.ground(), seen.clearing()):
        assert not shown(points)[~known].any()
    assert shown(seen.clearing())[known & (V > 40)].all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", ["plumb_bob", "equidistant"])
@pytest.mark.parametrize("d", [0.0, -0.3, 1e9, -1e30, 1e300])
@pytest.mark.parametrize(
    ("index", "value"), [(0, FOCAL), (0, 1e-30), (4, 0.01), (0, 1e5), (2, -1e5)]
)
def test_a_malformed_camera_info_is_refused_or_gives_usable_rays(model, d, index, value):
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model=model, d=[d, 0.0, 0.0, 0.0])
    info.k[:] = FOCAL, 0, (WIDTH - 1) / 2, 0, FOCAL, (HEIGHT - 1) / 2, 0, 0, 1
    info.k[index] = value
    try:
        found = rays(camera_model(for_image(info, WIDTH, HEIGHT)))
    except CameraInfoError:
        assert value != FOCAL, "the lens is an ordinary one"
        return
    known = np.full((HEIGHT, WIDTH), True) if found.known is None else found.known
    assert np.array_equal(np.isfinite(found.x) & np.isfinite(found.y), known)
    seen = scene(street(), rays=found)
    for points in (seen.obstacles(), seen.ground(), seen.clearing()):
        assert not shown(points)[~known].any()
