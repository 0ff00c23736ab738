"""Parameter files, RViz view, launch files and documents name what the node has."""

import ast
import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

import yaml
from helpers.contract import PARAMETERS, TOPICS
from helpers.parameter_files import parameters_for
from rclpy.parameter import Parameter

from emu_perception.ros import dds
from emu_perception.ros.launch import LAUNCH_ARGUMENTS

PACKAGE = Path(__file__).parents[2]
CONFIG = dds.profile().parent
ROOT = PACKAGE.parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", ["desktop.yaml", "jetson.yaml"])
@pytest.mark.parametrize("namespace", ["/", "/robot/front"])
def test_a_parameter_file_has_valid_parameters_and_values(domain, name, namespace):
    given = parameters_for(CONFIG / name, domain, "emu_perception", namespace)
    assert set(given) <= set(PARAMETERS)
    assert "provider" in given
    for key in given:
        parameter, value = PARAMETERS[key], given[key].value
        assert given[key].type_ is Parameter.Type.from_parameter_value(parameter.default), key
        if parameter.is_choice:
            assert value in parameter.allowed
        elif parameter.allowed:
            assert parameter.allowed[0] <= value <= parameter.allowed[1]


def subscriptions():
    """RViz's displays that subscribe to a topic, with the topic and its QoS."""
    view = yaml.safe_load((PACKAGE / "rviz" / "emu.rviz").read_text())["Visualization Manager"]
    return [(display, display["Topic"]) for display in view["Displays"] if "Topic" in display]


def displays():
    """RViz's displays that subscribe to a topic: name -> (class, topic)."""
    return {
        display["Name"]: (display["Class"].partition("/")[2], topic["Value"])
        for display, topic in subscriptions()
    }


def test_rviz_receives_cameras_of_either_reliability_and_loses_no_output():
    for _, topic in subscriptions():
        ours = topic["Value"].startswith("emu_perception/")
        assert topic["Reliability Policy"] == ("Reliable" if ours else "Best Effort")
        assert topic["Durability Policy"] == "Volatile"


def test_rviz_shows_the_camera_and_every_kind_of_map_with_relative_names():
    shown = {topic for _, topic in displays().values()}
    ours = {topic for topic in shown if topic.startswith("emu_perception/")}
    assert shown - ours == {"image", "image/compressed"}
    assert {topic.partition("/")[2] for topic in ours} == {
        "overlay",
        "semantic/uncertainty",
        "depth/image",
        "depth/uncertainty",
        "points",
    }


def test_each_display_has_the_message_type_of_its_topic():
    for kind, topic in displays().values():
        if topic.startswith("emu_perception/"):
            assert TOPICS[topic.partition("/")[2]] == kind


def test_launch_arguments_have_the_choices_of_the_parameters_of_that_name():
    shared = [a for a in LAUNCH_ARGUMENTS if a.name in PARAMETERS]
    assert {a.name for a in shared} == {"model", "provider", "image_transport", "autostart"}
    for argument in shared:
        parameter = PARAMETERS[argument.name]
        if parameter.is_choice:
            assert argument.choices == ("", *parameter.allowed)


@pytest.mark.parametrize("argument", LAUNCH_ARGUMENTS, ids=lambda a: a.name)
def test_the_default_of_a_launch_argument_is_one_of_its_choices(argument):
    assert not argument.choices or argument.default in argument.choices


def test_this_interpreter_parses_the_launch_files():
    files = sorted((PACKAGE / "launch").glob("*.launch.py"))
    assert [file.name for file in files] == ["emu.launch.py", "nav2_semantic.launch.py"]
    for file in files:
        functions = [n.name for n in ast.parse(file.read_text()).body if hasattr(n, "name")]
        assert "generate_launch_description" in functions


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_launch_commands_in_a_document_have_valid_arguments(document):
    known = {argument.name for argument in LAUNCH_ARGUMENTS} | {"costmap_params"}
    for command in re.findall(r"ros2 launch emu_perception \S+([^`\n]*)", document.read_text()):
        assert set(re.findall(r"(\w+):=", command)) <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_in_a_document_lead_to_existing_files(document):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target
