"""What differs between ROS 2 distributions looks the same to users."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from emu_perception.ros.distro import with_type_names


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (
            "Wrong parameter type, expected '9' got '4'",  # Kilted
            "Wrong parameter type, expected 'Type.STRING_ARRAY' got 'Type.STRING'",
        ),
        (
            "Wrong parameter type, expected 'Type.INTEGER' got 'Type.DOUBLE'",  # Jazzy
            "Wrong parameter type, expected 'Type.INTEGER' got 'Type.DOUBLE'",
        ),
        ("camera: '9' is no name", "camera: '9' is no name"),
        ("", ""),
    ],
)
def test_a_refused_type_is_named(reason, expected):
    assert with_type_names(reason) == expected
