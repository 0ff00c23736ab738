"""Settings and fixtures of ROS tests.

The DDS profile is read once per process, with its first participant; messages check their fields
only if told so when their module is imported: so both are set here, before ROS is imported
anywhere. Child processes inherit them.
"""

import os

import pytest

from emu_perception.ros import dds

os.environ.update(dds.environment())
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

# launch_testing's plugin imports all that pytest 7 collects, every __init__.py as well: the
# stand-in would then take the place of an installed vision_msgs.
collect_ignore = ["stand_ins"]


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
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(models):
    """A model file of 64x48 pixels; `dummy_model.dummy_outputs` gives its outputs."""
    from emu_core.runtime.dummy_model import make_dummy_model

    return make_dummy_model(models / "dummy.onnx", (48, 64), canonical_focal=100.0)


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """A clock of the test's own."""
    return Clock()
