"""The example for Nav2 obeys the rules of the semantic costmap layer, as in its sources."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from helpers.contract import TOPICS
from helpers.parameter_files import parameters_for

from emu_core.runtime.model_file import default_model, read_info
from emu_perception.ros import dds

FILE = dds.profile().with_name("nav2_semantic_costmap.yaml")


@pytest.fixture(scope="module")
def costmap(domain):
    given = parameters_for(FILE, domain, "costmap", "/costmap")
    return {key: parameter.value for key, parameter in given.items()}


@pytest.fixture(scope="module")
def camera(costmap):
    start = "semantic_layer.camera."
    return {k.removeprefix(start): v for k, v in costmap.items() if k.startswith(start)}


def test_unseen_tiles_are_unknown_and_not_free(costmap):
    assert costmap["track_unknown_space"] is True


def test_it_reads_topics_that_the_node_publishes(camera):
    kinds = {
        "segmentation_topic": "Image",
        "confidence_topic": "Image",
        "labels_topic": "LabelInfo",
        "pointcloud_topic": "PointCloud2",
    }
    for key, kind in kinds.items():
        node, topic = camera[key].removeprefix("/").split("/", 1)
        assert (node, TOPICS[topic]) == ("emu_perception", kind)


def test_every_class_of_the_model_and_unknown_is_in_one_type(camera):
    named = [c for kind in camera["class_types"] for c in camera[f"{kind}.classes"]]
    assert sorted(named) == sorted([*read_info(default_model()).classes.names, "unknown"])


def test_the_layer_gets_the_types_that_it_declares(camera):
    for key in ("max_obstacle_distance", "min_obstacle_distance", "tile_map_decay_time"):
        assert type(camera[key]) is float
    for kind in camera["class_types"]:
        for key in ("base_cost", "max_cost", "mark_confidence", "samples_to_max_cost"):
            assert type(camera[f"{kind}.{key}"]) is int
            assert 0 <= camera[f"{kind}.{key}"] <= 254
        assert type(camera[f"{kind}.dominant_priority"]) is bool


def test_an_uncertain_tile_never_costs_less_than_a_certain_road(camera):
    def cost(kind, confidence, looks):
        certain = looks >= camera[f"{kind}.samples_to_max_cost"]
        certain = certain and confidence > camera[f"{kind}.mark_confidence"]
        return camera[f"{kind}.max_cost" if certain else f"{kind}.base_cost"]

    assert cost("free", 255, 1) == 0
    assert cost("free", 50, 1) > 0
    for kind in ("obstacle", "danger", "uncertain"):
        for confidence in (0, 50, 255):
            assert cost(kind, confidence, 1) > cost("passable", 0, 1) > cost("free", 50, 1)
    assert cost("danger", 0, 1) == cost("obstacle", 255, 2) == 254


def test_the_node_becomes_active_after_the_layer_and_without_a_bond(domain):
    manager = parameters_for(FILE, domain, "lifecycle_manager_semantic")
    assert manager["node_names"].value == ["costmap/costmap", "emu_perception"]
    assert manager["bond_timeout"].value == 0.0
