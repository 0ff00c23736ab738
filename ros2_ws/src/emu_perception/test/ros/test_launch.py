"""Which program replays a bag: rosbag2's where it is installed and has the plugin, else ours."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("ament_index_python", reason="needs ROS 2 (ament_index_python)")

from emu_perception.bag_tools import player
from emu_perception.errors import UserError
from emu_perception.ros import launch as bag_player
from emu_perception.ros.launch import is_installed, require


@pytest.fixture
def bag(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    (folder / "drive_0.db3").touch()
    return folder


def install(tmp_path, monkeypatch, *modules):
    """A machine with these Python modules, and an ament index without packages."""
    for module in modules:
        (tmp_path / f"{module}.py").touch()
    index = tmp_path / "prefix/share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))


def test_without_rosbag2_our_player_plays(bag, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "ros2bag")  # the command, but not the player behind it
    assert not bag_player.rosbag2_plays(bag)


def test_rosbag2_plays_where_it_is_installed(bag, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "ros2bag", "rosbag2_py")
    assert bag_player.rosbag2_plays(bag)


@pytest.mark.parametrize("given_as", ["folder", "file"])
def test_rosbag2_plays_mcap_only_with_its_plugin_which_humble_installs_on_demand(
    tmp_path, monkeypatch, given_as
):
    pytest.importorskip("ament_index_python", reason="needs ROS 2 (ament_index_python)")
    drive = tmp_path / "drive"
    drive.mkdir()
    (drive / "drive.mcap").touch()
    given = drive if given_as == "folder" else drive / "drive.mcap"
    install(tmp_path, monkeypatch, "ros2bag", "rosbag2_py")
    assert not bag_player.rosbag2_plays(given)
    (tmp_path / "prefix/share/ament_index/resource_index/packages/rosbag2_storage_mcap").touch()
    assert bag_player.rosbag2_plays(given)
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert not bag_player.rosbag2_plays(given)


@pytest.mark.parametrize("clock", [False, True])
def test_bag_time_is_published_only_when_it_is_wanted(clock):
    drive = Path("drive")
    assert ("--clock" in bag_player.rosbag2_command(drive, clock=clock)) is clock
    given = player._parser().parse_args(bag_player.player_arguments(drive, clock=clock))
    assert given.clock is clock
    assert given.bag == drive
    assert given.wait_for_subscribers == 1


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
