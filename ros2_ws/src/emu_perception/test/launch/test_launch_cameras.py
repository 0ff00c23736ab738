"""Two cameras on the installed node, named in a parameter file (launch_testing).

python3 -m pytest test_launch_cameras.py
"""

import tempfile
from pathlib import Path

import pytest

pytest.importorskip("launch_testing", reason="needs launch_testing, which is not in the wheels")
pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from helpers.launch_rig import CameraTest, test_description

PARAMETERS = "/**:\n  ros__parameters:\n    cameras: [front, rear]\n"


@pytest.mark.launch_test
def generate_test_description():
    file = Path(tempfile.mkdtemp()) / "two_cameras.yaml"
    file.write_text(PARAMETERS)
    return test_description(namespace="pair", params_file=file)


class TestTwoCameras(CameraTest):
    def test_each_camera_has_its_own_topics(self):
        for name, other in (("front", "rear"), ("rear", "front")):
            boxes = self.readers(f"/pair/emu_perception/{name}")
            others = self.readers(f"/pair/emu_perception/{other}")
            camera = self.camera(f"/pair/{name}/image")
            second = self.show_until_processed(camera, boxes)
            self.assertFalse(any(second in box for box in others.values()))
            self.node.destroy_publisher(camera)
