"""The installed node, started by emu.launch.py, processes an image and ends (launch_testing).

python3 -m pytest test_launch_node.py     # or: colcon test --packages-select emu_perception

It needs the pytest of the ROS distribution: launch_testing's plugin (3.4.3, 1.0.7) works with
pytest 7.4.4, but not with 9.2.
"""

import unittest

import pytest

pytest.importorskip("launch_testing", reason="needs launch_testing, which is not in the wheels")
pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

import launch_testing
from helpers.launch_rig import CameraTest, test_description
from launch_testing.asserts import assertExitCodes


@pytest.mark.launch_test
def generate_test_description():
    return test_description(image="camera", namespace="tested")


class TestWhileItRuns(CameraTest):
    def test_all_maps_of_an_image_have_its_stamp_and_frame_id_and_one_size(self):
        boxes = self.readers("/tested/emu_perception")
        second = self.show_until_processed(self.camera("/tested/camera"), boxes)
        maps = [box[second] for box in boxes.values()]
        self.assertEqual({message.header.frame_id for message in maps}, {"camera"})
        self.assertEqual(len({(message.width, message.height) for message in maps}), 1)


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_the_node_ends_with_code_0(self, proc_info):
        assertExitCodes(proc_info)
