"""The installed node with two cameras and a lifecycle manager, started by emu.launch.py.

python3 -m pytest test_launch_node.py     # or: colcon test --packages-select emu_perception

It needs launch_testing and the pytest of the ROS distribution: launch_testing's plugin (3.4.3,
1.0.7) works with pytest 7.4.4, but not with 9.2.
"""

import tempfile
import time
import unittest
from pathlib import Path

import pytest

pytest.importorskip("launch_testing", reason="needs launch_testing, which is not in the wheels")
pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

import ament_index_python
import launch_testing
import rclpy
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from sensor_msgs.msg import Image

try:
    SHARE = ament_index_python.get_package_share_path("emu_perception")
except LookupError:
    pytest.skip("needs emu_perception installed and sourced", allow_module_level=True)

NODE = "/pair/emu_perception"
MAPS = ("semantic/image", "semantic/confidence", "depth/image", "depth/uncertainty")
PARAMETERS = "/**:\n  ros__parameters:\n    cameras: [front, rear]\n"
TIMEOUT_S = 60.0


@pytest.mark.launch_test
def generate_test_description():
    file = Path(tempfile.mkdtemp()) / "two_cameras.yaml"
    file.write_text(PARAMETERS)
    arguments = {"namespace": "pair", "params_file": str(file), "autostart": "false"}
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "emu.launch.py"))
    node = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([node, ReadyToTest()])


class TestManagedCameras(unittest.TestCase):
    def setUp(self):
        rclpy.init()
        self.node = rclpy.create_node("test_node")
        self.second = 1_700_000_000

    def tearDown(self):
        self.node.destroy_node()
        rclpy.shutdown()

    def test_each_camera_has_its_own_topics_while_the_node_is_active(self):
        cameras, received = {}, {}
        for name in ("front", "rear"):
            cameras[name] = self.node.create_publisher(Image, f"/pair/{name}/image", 5)
            received[name] = self.subscribe(name)
        front = cameras["front"]
        for _ in range(2):
            self.change(Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE)
            self.change(Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE)
            for name, other in (("front", "rear"), ("rear", "front")):
                second = self.send_until_processed(cameras[name], received[name])
                maps = [box[second] for box in received[name].values()]
                self.assertEqual({message.header.frame_id for message in maps}, {"camera"})
                self.assertEqual(len({(message.width, message.height) for message in maps}), 1)
                self.assertFalse(any(second in box for box in received[other].values()))
            self.change(Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE)
            self.assertTrue(self.spin_until(lambda: front.get_subscription_count() == 0))
            ignored = self.send(front)
            self.change(Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED)
            self.assertFalse(any(ignored in box for box in received["front"].values()))

    def subscribe(self, camera):
        """The messages on each topic of a camera, by the seconds of their stamp."""
        boxes = {topic: {} for topic in MAPS}
        for topic, box in boxes.items():
            self.node.create_subscription(
                Image,
                f"{NODE}/{camera}/{topic}",
                lambda message, box=box: box.update({message.header.stamp.sec: message}),
                20,
            )
        return boxes

    def send(self, camera):
        """Publish an image and return the seconds of its stamp."""
        self.second += 1
        image = Image(width=8, height=8, step=8, encoding="mono8", data=bytes(64))
        image.header.stamp.sec, image.header.frame_id = self.second, "camera"
        camera.publish(image)
        return self.second

    def send_until_processed(self, camera, boxes):
        """Publish images until one is processed on every topic; return its stamp's seconds."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            second = self.send(camera)
            if self.spin_until(lambda s=second: all(s in box for box in boxes.values()), 1.0):
                return second
            self.assertLess(time.monotonic(), deadline, "no image was processed on every topic")

    def spin_until(self, condition, timeout_s=TIMEOUT_S):
        """Run callbacks until the condition holds; False after the timeout."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            rclpy.spin_once(self.node, timeout_sec=0.05)
        return True

    def change(self, transition, expected):
        """Make a transition, which must succeed and end in the expected state."""
        request = ChangeState.Request(transition=Transition(id=transition))
        self.assertTrue(self.call(ChangeState, "change_state", request).success)
        state = self.call(GetState, "get_state", GetState.Request()).current_state
        self.assertEqual(state.id, expected)

    def call(self, kind, name, request):
        """The response of one of the node's services."""
        client = self.node.create_client(kind, f"{NODE}/{name}")
        self.assertTrue(self.spin_until(client.service_is_ready), f"no service {name}")
        future = client.call_async(request)
        self.assertTrue(self.spin_until(future.done), f"no response of {name}")
        self.node.destroy_client(client)
        return future.result()


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_the_node_ends_with_code_0(self, proc_info):
        assertExitCodes(proc_info)
