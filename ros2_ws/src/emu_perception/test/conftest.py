"""Settings and fixtures of the ROS tests.

A process reads the DDS profile with its first participant, and messages check their fields only
if the variable was set before their import. So both are set here, before ROS is imported. Child
processes inherit them.
"""

import importlib
import os

import pytest

from emu_perception.ros import dds

os.environ.update(dds.environment())
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

PACKAGE = "emu_perception"

# launch_testing's plugin imports every file that pytest 7 collects, also every __init__.py. The
# stand-in would then replace an installed vision_msgs.
collect_ignore = ["helpers/stand_ins"]


LAUNCH_TEST = "test_launch_node.py"


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path, parent):
    """Keep launch_testing's plugin, which imports a file to look for a launch test, from others.

    With pytest 8, a file that is skipped by this import would end the collection of its folder.
    """
    if module_path.name == LAUNCH_TEST and _is_installed():
        return None
    return pytest.Module.from_parent(parent, path=module_path)


def _is_installed():
    """Whether the package is installed for launch files, as after `colcon build`."""
    try:
        return bool(importlib.import_module("ament_index_python").get_package_share_path(PACKAGE))
    except (ImportError, LookupError, OSError):  # also without AMENT_PREFIX_PATH
        return False


@pytest.fixture(scope="module")
def domain():
    """A ROS domain that no other test process uses."""
    coordinator = pytest.importorskip(
        "domain_coordinator", reason="needs ros-jazzy-domain-coordinator"
    )
    with coordinator.domain_id() as number:
        yield number


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder for model files."""
    pytest.importorskip("onnx", reason="needs onnx, to make a model file")
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(models):
    """A model file of 64x48 pixels; `dummy_model.dummy_outputs` computes its outputs."""
    from emu_core.runtime.dummy_model import make_dummy_model

    return make_dummy_model(models / "dummy.onnx", (48, 64), canonical_focal=100.0)


@pytest.fixture
def clock():
    """A clock whose time the test sets."""

    def clock():
        return clock.now

    clock.now = 0.0
    return clock


@pytest.fixture
def make_node(domain, model):
    """Function that makes the node inside this process, with the dummy model and ROS arguments."""
    import rclpy

    from emu_perception.node.lifecycle import PerceptionNode

    nodes = []

    def make(*arguments):
        given = ("-p", f"model:={model}", "-p", "provider:=cpu", *arguments)
        rclpy.init(domain_id=domain, args=["--ros-args", *given])
        nodes.append(PerceptionNode())
        return nodes[0]

    yield make
    for node in nodes:
        node.close()
        node.destroy_node()
    rclpy.try_shutdown()
