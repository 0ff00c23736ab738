"""Helpers for launch_testing: the launched node as an action, and a camera.

`launch_test` finds this module only with PYTHONPATH=..
"""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable, Sequence
from typing import Any

import ament_index_python
import pytest
import rclpy
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.actions import ReadyToTest
from sensor_msgs.msg import Image

try:
    SHARE = ament_index_python.get_package_share_path("emu_perception")
except LookupError:
    pytest.skip("needs emu_perception installed and sourced", allow_module_level=True)

TIMEOUT_S = 60.0
MAPS = ("semantic/image", "semantic/confidence", "depth/image", "depth/uncertainty")


def test_description(**arguments: object) -> LaunchDescription:
    """Start emu.launch.py with these arguments, and the tests at once."""
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "emu.launch.py"))
    given = [(name, str(value)) for name, value in arguments.items()]
    return LaunchDescription(
        [IncludeLaunchDescription(source, launch_arguments=given), ReadyToTest()]
    )


test_description.__test__ = False  # type: ignore[attr-defined]


class CameraTest(unittest.TestCase):
    """A node `camera` that publishes grey images, with new stamps, and subscribes to maps."""

    @classmethod
    def setUpClass(cls) -> None:
        rclpy.init()
        cls.node = rclpy.create_node("camera")
        cls.second = 1_700_000_000

    @classmethod
    def tearDownClass(cls) -> None:
        cls.node.destroy_node()
        rclpy.shutdown()

    def camera(self, topic: str) -> Any:
        """A publisher of images."""
        return self.node.create_publisher(Image, topic, 5)

    def readers(self, prefix: str, topics: Sequence[str] = MAPS) -> dict[str, dict[int, Image]]:
        """The messages that arrive on each topic, by the seconds of their stamp."""
        boxes: dict[str, dict[int, Image]] = {topic: {} for topic in topics}
        for topic, box in boxes.items():
            self.node.create_subscription(
                Image,
                f"{prefix}/{topic}",
                lambda message, box=box: box.update({message.header.stamp.sec: message}),
                20,
            )
        return boxes

    def show(self, camera: Any, frame_id: str = "camera") -> int:
        """Publish an image and return the seconds of its stamp."""
        type(self).second += 1
        image = Image(width=8, height=8, step=8, encoding="mono8", data=bytes(64))
        image.header.stamp.sec, image.header.frame_id = self.second, frame_id
        camera.publish(image)
        return self.second

    def show_until_processed(self, camera: Any, boxes: dict[str, dict[int, Image]]) -> int:
        """Publish images until one is processed on every topic; return its stamp's seconds."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            second = self.show(camera)
            if self.spin_until(lambda s=second: all(s in box for box in boxes.values()), 1.0):
                return second
            self.assertLess(time.monotonic(), deadline, "no image was processed on every topic")

    def spin_until(self, condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> bool:
        """Run callbacks until the condition holds; False after the timeout."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            rclpy.spin_once(self.node, timeout_sec=0.05)
        return True
