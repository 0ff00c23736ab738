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


def test_rviz_shows_the_camera_and_every_kind_of_map_with_relative_names():
    view = yaml.safe_load((PACKAGE / "rviz" / "emu.rviz").read_text())["Visualization Manager"]
    cameras, ours = set(), set()
    for display in view["Displays"]:
        topic = display.get("Topic")
        if topic is None:
            continue
        assert topic["Durability Policy"] == "Volatile"
        node, _, name = topic["Value"].partition("/")
        if node == "emu_perception":
            ours.add(name)
            assert TOPICS[name] == display["Class"].partition("/")[2]
            assert topic["Reliability Policy"] == "Reliable"  # no output is lost
        else:
            cameras.add(topic["Value"])
            assert topic["Reliability Policy"] == "Best Effort"  # fits cameras of either kind
    assert cameras == {"image", "image/compressed"}
    maps = {"semantic/uncertainty", "depth/image", "depth/uncertainty"}
    assert ours == {"overlay", "points", *maps}


def test_launch_arguments_have_the_choices_of_the_parameters_of_that_name():
    shared = [a for a in LAUNCH_ARGUMENTS if a.name in PARAMETERS]
    assert {a.name for a in shared} == {"model", "provider", "image_transport", "autostart"}
    for argument in shared:
        parameter = PARAMETERS[argument.name]
        if parameter.is_choice:
            assert argument.choices == ("", *parameter.allowed)
    assert all(not a.choices or a.default in a.choices for a in LAUNCH_ARGUMENTS)


def test_this_interpreter_parses_the_launch_files():
    files = sorted((PACKAGE / "launch").glob("*.launch.py"))
    assert [file.name for file in files] == ["emu.launch.py", "nav2_semantic.launch.py"]
    for file in files:
        functions = [n.name for n in ast.parse(file.read_text()).body if hasattr(n, "name")]
        assert "generate_launch_description" in functions


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_launch_commands_and_links_in_a_document_are_valid(document):
    text = document.read_text()
    known = {argument.name for argument in LAUNCH_ARGUMENTS} | {"costmap_params"}
    for command in re.findall(r"ros2 launch emu_perception \S+([^`\n]*)", text):
        assert set(re.findall(r"(\w+):=", command)) <= known
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (document.parent / target).exists(), target
