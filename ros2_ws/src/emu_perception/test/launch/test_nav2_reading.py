"""The node's mask, confidence, points and LabelInfo, read by the rules of Nav2's layer."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.camera_rig import pinhole
from helpers.nav2_reader import SemanticLayer
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from emu_core.labels import CITYSCAPES, IGNORE
from emu_core.runtime.perceiver import Perception
from emu_perception.messages.images import fill_image
from emu_perception.messages.points import PointCloudMaker
from emu_perception.node.frame_outputs import FrameOutputs

WIDTH, HEIGHT, FOCAL = 96, 64, 60.0
CENTER = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
EYE = 1.2  # metres above the ground
ROAD, PERSON = CITYSCAPES.names.index("road"), CITYSCAPES.names.index("person")
RESOLUTION = 0.25

# The map: x forward, y left, z up, with the origin below the camera, which looks forward.
CAMERA_TO_MAP = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, EYE], [0, 0, 0, 1]])


def label_info():
    """A stand-in with the fields of vision_msgs/LabelInfo."""
    names = enumerate(CITYSCAPES.names)
    return SimpleNamespace(class_map=[SimpleNamespace(class_id=i, class_name=n) for i, n in names])


def street():
    """A road, and 4 m ahead in its middle a person, 0.5 m wide and 1.8 m tall.

    All uncertainties are low; the sky begins at the horizon.
    """
    u, v = np.meshgrid(np.arange(float(WIDTH)), np.arange(float(HEIGHT)))
    below = (v - CENTER[1]) / FOCAL
    with np.errstate(divide="ignore"):
        depth = np.where(below > 0, EYE / below, np.inf)
    at_person = np.abs((u - CENTER[0]) / FOCAL * 4) <= 0.25
    at_person &= (below * 4 <= EYE) & (below * 4 >= EYE - 1.8)
    labels = np.where(np.isfinite(depth), ROAD, CITYSCAPES.sky)
    return Perception(
        np.where(at_person, PERSON, labels).astype(np.uint8),
        np.full(u.shape, 0.1, np.float32),
        np.where(at_person, 4.0, depth).astype(np.float32),
        np.where(np.isfinite(depth) | at_person, 0.2, np.inf).astype(np.float32),
    )


def messages(seen, max_depth_std_ratio=0.3):
    """Mask, confidence and cloud, as the node makes them."""
    frame = FrameOutputs.__new__(FrameOutputs)
    vars(frame)["perception"] = seen
    info = pinhole(FOCAL, WIDTH, HEIGHT)
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return (
        fill_image(Image(), seen.labels, "mono8", Header()),
        fill_image(Image(), frame.confidence, "mono8", Header()),
        PointCloudMaker().message(seen, info, rgb, max_depth_std_ratio, Header()),
    )


def tiles(seen, **gate):
    layer = SemanticLayer(CAMERA_TO_MAP, label_info(), set(CITYSCAPES.names), RESOLUTION)
    layer.take(*messages(seen, **gate))
    return layer.tiles


PERSON_TILES = {(16, -1), (16, 0)}
"""4 m ahead, 0.25 m to each side."""


def test_road_and_person_are_in_the_right_tiles():
    found = tiles(street())
    assert {tile for tile, (name, _) in found.items() if name == "person"} <= PERSON_TILES
    assert {found[tile] for tile in PERSON_TILES} == {("person", 230)}  # round(255·0.9)
    # The lowest row points down by 31.5/60: the road begins 1.2·60/31.5 = 2.29 m ahead.
    road = [tile for tile, (name, _) in found.items() if name == "road"]
    assert min(column for column, _ in road) == math.floor(2.29 / RESOLUTION)
    assert {name for name, _ in found.values()} == {"road", "person"}  # the sky has no position


@pytest.mark.parametrize(("uncertainty", "confidence"), [(0.5, 128), (0.9, 26), (1.0, 0)])
def test_an_uncertain_obstacle_still_reaches_the_costmap(uncertainty, confidence):
    seen = street()
    seen.label_uncertainty[seen.labels == PERSON] = uncertainty
    found = tiles(seen)
    assert {found[tile] for tile in PERSON_TILES} == {("person", confidence)}


def test_an_obstacle_with_an_uncertain_position_does_not_change_its_tiles():
    seen = street()
    seen.depth_std[seen.labels == PERSON] = 1.3  # of 4 m
    assert not PERSON_TILES & tiles(seen).keys()
    assert tiles(seen, max_depth_std_ratio=0.4).keys() >= PERSON_TILES


def test_every_class_replaces_an_id_without_a_name():
    """The upper half of the person is unlabelled, and comes first in every tile."""
    seen = street()
    rows = np.nonzero(seen.labels == PERSON)[0]
    upper = (seen.labels == PERSON) & (np.arange(HEIGHT)[:, None] <= (rows.min() + rows.max()) / 2)
    seen.labels[upper] = IGNORE
    seen.label_uncertainty[upper] = 0.0  # although the network is certain
    _, confidence, _ = messages(seen)
    given = np.frombuffer(confidence.data, np.uint8).reshape(HEIGHT, WIDTH)
    assert (given[upper] == 0).all() and (given[~upper] == 230).all()
    assert {tiles(seen)[tile] for tile in PERSON_TILES} == {("person", 230)}
