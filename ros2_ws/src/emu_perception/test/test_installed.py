"""What the launch files ask of the ROS installation before they start anything."""

import pytest

pytest.importorskip("ament_index_python", reason="needs ROS 2 (ament_index_python)")

from emu_perception.command_line import UserError
from emu_perception.installed import is_installed, require


@pytest.fixture
def sourced(tmp_path, monkeypatch):
    """A ROS environment with rviz2 alone."""
    index = tmp_path / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "rviz2").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))


def test_packages_of_the_sourced_environment_are_installed_and_no_others(sourced, monkeypatch):
    assert is_installed("rviz2")
    assert not is_installed("nav2_costmap_2d")
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert not is_installed("rviz2")


def test_what_is_missing_is_told_with_its_purpose_and_what_to_install(sourced):
    require(["rviz2"], "rviz:=true")
    with pytest.raises(UserError) as told:
        require(["rviz2", "nav2_costmap_2d", "nav2_msgs"], "the costmap")
    assert str(told.value) == (
        "the costmap needs nav2_costmap_2d and nav2_msgs, and the sourced ROS has none: sudo apt "
        "install ros-$ROS_DISTRO-nav2-costmap-2d ros-$ROS_DISTRO-nav2-msgs, or build it from "
        "source and source that"
    )
