"""The demo drive as a planner sees it: ~/obstacles and ~/clearing in Nav2's layers.

The truth is that of the bag: the rendered classes and depths.
"""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from helpers.planners.costmaps import FREE, LETHAL, VoxelLayer
from helpers.planners.demo_drive import ROAD, SKY, costmap, frames

from emu_core.labels import CITYSCAPES

CAR = CITYSCAPES.names.index("car")
GROUND = [CITYSCAPES.names.index(name) for name in ("road", "sidewalk", "terrain")]


@pytest.fixture(scope="module", params=[60, 100])
def frame(request):
    (only,) = frames({request.param}, stride=2)
    return only


def cells_of(layer, points):
    """The cells of points in the map, each once."""
    row, column, inside = layer.cell(points[:, :2])
    return np.unique(np.stack([row, column], axis=-1)[inside], axis=0)


def near(layer, cells, state, reach=5):
    """Whether a cell of this state lies within so many cells of each cell."""
    found = layer.cells == state
    grown = np.zeros_like(found)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            grown |= np.roll(found, (row, column), (0, 1))
    return grown[cells[:, 0], cells[:, 1]]


@pytest.mark.parametrize("kind", [None, VoxelLayer], ids=["obstacle layer", "voxel layer"])
def test_parked_cars_are_marked_and_the_lane_is_free(frame, kind):
    layer = costmap(frame) if kind is None else costmap(frame, kind)
    x, y, z = np.moveaxis(frame.points, -1, 0)
    cars = (frame.labels == CAR) & (np.hypot(x, y) < 12) & (z > 0.3) & (z < 1.8)
    assert cars.sum() > 300
    assert near(layer, cells_of(layer, frame.points[cars]), LETHAL).mean() > 0.9
    lane = (frame.labels == ROAD) & (x > 3) & (x < 8) & (np.abs(y) < 0.8)
    states = layer.cells[tuple(cells_of(layer, frame.points[lane]).T)]
    assert (states == FREE).mean() > 0.95 and (states == LETHAL).mean() < 0.01


def test_nothing_beyond_a_wall_is_cleared(frame):
    """In each direction, the first thing as tall as a robot hides what is behind it."""
    layer = costmap(frame)
    x, y, z = np.moveaxis(frame.points, -1, 0)
    tall = ~np.isin(frame.labels, [*GROUND, SKY, 255]) & (z > 0.5) & (z < 2.0)
    degrees = np.degrees(np.arctan2(y, x))
    row, column = np.nonzero(layer.cells == FREE)
    to_cell = layer.origin + (np.stack([column, row], axis=-1) + 0.5) * layer.resolution
    distance, direction = (
        np.hypot(*to_cell.T),
        np.degrees(np.arctan2(to_cell[:, 1], to_cell[:, 0])),
    )
    beyond = checked = 0
    for start in np.arange(-28.0, 28.0):
        inside = tall & (degrees >= start) & (degrees < start + 1)
        if inside.sum() < 10:
            continue
        # The nearest pixels, without the few that belong to the edges of things.
        wall = np.percentile(np.hypot(x, y)[inside], 5)
        cells = (direction >= start) & (direction < start + 1)
        beyond += (distance[cells] > 1.15 * wall + 0.5).sum()
        checked += cells.sum()
    assert checked > 5000 and beyond / checked < 0.01
