"""The installed node with a lifecycle manager (launch_testing).

python3 -m pytest test_launch_lifecycle.py
"""

import unittest

import pytest

pytest.importorskip("launch_testing", reason="needs launch_testing, which is not in the wheels")
pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

import launch_testing
from helpers.launch_rig import CameraTest, test_description
from launch_testing.asserts import assertExitCodes
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

NODE = "/managed/emu_perception"


@pytest.mark.launch_test
def generate_test_description():
    return test_description(image="camera", namespace="managed", autostart="false")


class TestManaged(CameraTest):
    def test_it_processes_images_only_while_it_is_active(self):
        camera = self.camera("/managed/camera")
        boxes = self.readers(NODE)
        self.assertEqual(self.state(), State.PRIMARY_STATE_UNCONFIGURED)
        for _ in range(2):
            self.change(Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE)
            self.change(Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE)
            self.show_until_processed(camera, boxes)
            self.change(Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE)
            self.assertTrue(self.spin_until(lambda: camera.get_subscription_count() == 0))
            ignored = self.show(camera)
            self.change(Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED)
            self.assertFalse(any(ignored in box for box in boxes.values()))

    def state(self):
        """The id of the node's lifecycle state."""
        return self.call(GetState, "get_state", GetState.Request()).current_state.id

    def change(self, transition, expected):
        """Make a transition, which must succeed and end in the expected state."""
        request = ChangeState.Request(transition=Transition(id=transition))
        self.assertTrue(self.call(ChangeState, "change_state", request).success)
        self.assertEqual(self.state(), expected)

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
