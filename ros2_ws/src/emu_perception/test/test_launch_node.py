"""The installed node, brought up by emu.launch.py, answers a frame and ends well (launch_testing).

launch_test test_launch_node.py          # or: colcon test --packages-select emu_perception
"""

import time
import unittest

import pytest

pytest.importorskip("launch_testing", reason="needs launch_testing, which is not in the wheels")
pytest.importorskip("launch_testing_ros", reason="needs launch_testing_ros")

import ament_index_python
import launch_testing
import rclpy
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes
from sensor_msgs.msg import Image

try:
    SHARE = ament_index_python.get_package_share_path("emu_perception")
except LookupError:
    pytest.skip("needs emu_perception installed and sourced", allow_module_level=True)

TIMEOUT_S = 60.0
FRAME = Image(width=8, height=8, step=8, encoding="mono8", data=bytes(64))


@pytest.mark.launch_test
def generate_test_description():
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "emu.launch.py"))
    arguments = {"image": "camera", "namespace": "tested"}.items()
    node = IncludeLaunchDescription(source, launch_arguments=arguments)
    return LaunchDescription([node, ReadyToTest()])


class TestWhileItRuns(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        rclpy.init()
        cls.node = rclpy.create_node("camera")
        cls.camera = cls.node.create_publisher(Image, "/tested/camera", 5)

    @classmethod
    def tearDownClass(cls):
        cls.node.destroy_node()
        rclpy.shutdown()

    def test_every_map_of_a_frame_has_its_stamp_and_one_size(self):
        topics = ("semantic/image", "semantic/confidence", "depth/image", "depth/uncertainty")
        answers = {topic: {} for topic in topics}
        for topic, received in answers.items():
            self.node.create_subscription(
                Image,
                f"/tested/emu_perception/{topic}",
                lambda message, into=received: into.update({message.header.stamp.sec: message}),
                20,
            )
        second = self._show_until(lambda sent: all(sent in r for r in answers.values()))
        sizes = {(r[second].width, r[second].height) for r in answers.values()}
        self.assertEqual(len(sizes), 1)
        self.assertEqual({r[second].header.frame_id for r in answers.values()}, {"camera"})

    def _show_until(self, answered):
        """Show frames with stamps of their own until one is answered; its stamp's seconds."""
        deadline = time.monotonic() + TIMEOUT_S
        for second in range(1_700_000_000, 1_800_000_000):
            FRAME.header.stamp.sec, FRAME.header.frame_id = second, "camera"
            self.camera.publish(FRAME)
            patience = time.monotonic() + 1.0
            while time.monotonic() < patience:
                rclpy.spin_once(self.node, timeout_sec=0.05)
                if answered(second):
                    return second
            self.assertLess(time.monotonic(), deadline, "no frame was answered on every topic")


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_the_node_ends_with_code_0(self, proc_info):
        assertExitCodes(proc_info)
