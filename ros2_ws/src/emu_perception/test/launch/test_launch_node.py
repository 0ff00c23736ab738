"""The installed node with two cameras and a lifecycle manager, started by emu.launch.py.

python3 -m pytest test_launch_node.py     # or: colcon test --packages-select emu_perception

It needs launch_testing and the pytest of the ROS distribution: launch_testing's plugin (3.4.3,
1.0.7) works with pytest 7.4.4, but not with 9.2.
"""

import os
import tempfile
import unittest
from pathlib import Path

import pytest

pytest.importorskip("launch_testing", reason="needs launch_testing, which is not in the wheels")

import ament_index_python
import launch_testing
from helpers.camera_rig import FRAME_ID, CameraRig, gray
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes

from emu_perception.ros.distro import localhost_only

try:
    SHARE = ament_index_python.get_package_share_path("emu_perception")
except LookupError:
    pytest.skip("needs emu_perception installed and sourced", allow_module_level=True)

MAPS = ("semantic/image", "semantic/confidence", "depth/image", "depth/uncertainty")
PARAMETERS = "/**:\n  ros__parameters:\n    cameras: [front, rear]\n"


@pytest.mark.launch_test
def generate_test_description():
    os.environ.update(localhost_only())  # as the rigs have it
    file = Path(tempfile.mkdtemp()) / "two_cameras.yaml"
    file.write_text(PARAMETERS)
    arguments = {"namespace": "pair", "params_file": str(file), "autostart": "false"}
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "emu.launch.py"))
    node = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([node, ReadyToTest()])


class TestManagedCameras(unittest.TestCase):
    def test_each_camera_has_its_own_topics_while_the_node_is_active(self):
        domain = int(os.environ.get("ROS_DOMAIN_ID", "0"))
        front, rear = (
            CameraRig(domain, "/pair", topics=MAPS, camera=name) for name in ("front", "rear")
        )
        remote = front.remote
        for _ in range(2):
            assert remote.change("configure") and remote.change("activate")
            for rig, other in ((front, rear), (rear, front)):
                rig.wait_for_outputs()
                before = [len(box) for box in other.received.values()]
                maps = rig.process_image(gray()).values()
                assert {message.header.frame_id for message in maps} == {FRAME_ID}
                assert len({(message.width, message.height) for message in maps}) == 1
                assert [len(box) for box in other.received.values()] == before
            assert remote.change("deactivate")
            front.ros.wait_until(
                lambda: front.camera.get_subscription_count() == 0, "the end of the subscription"
            )
            ignored = front.send(gray())
            assert remote.change("cleanup") and remote.state() == "unconfigured"
            assert not any(ignored in box for box in front.received.values())
        for rig in (front, rear):
            rig.ros.close()


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_the_node_ends_with_code_0(self, proc_info):
        assertExitCodes(proc_info)
